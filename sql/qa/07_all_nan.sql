-- name: all_nan
-- severity: error
-- returns: offenders
-- expected: a number in at least one row of each column, except columns that are infinite on an identity pair and those whose extractor refuses some frame sizes or has no value for some frames
-- why: A feature that the engine did not give looks like a column of NaN.
SELECT name, count(*) AS rows
FROM suspect_values
JOIN columns USING (name)
WHERE isnan(value) AND NOT all_nan AND finite AND shorter_side = 0 AND longer_side = 0
GROUP BY name
HAVING count(*) = (SELECT count(*) FROM features)
ORDER BY name
