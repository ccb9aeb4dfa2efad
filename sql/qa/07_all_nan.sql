-- name: all_nan
-- severity: error
-- returns: offenders
-- expected: no column is NaN in all rows, but for those that are infinite on an identity pair
-- why: A feature that the engine did not give looks like a column of NaN.
SELECT columns.name, count(*) AS rows
FROM feature_values
JOIN columns USING (name)
WHERE NOT columns.all_nan
GROUP BY columns.name
HAVING count(*) FILTER (WHERE NOT isnan(value)) = 0
    AND columns.name NOT IN (SELECT name FROM refused GROUP BY name HAVING count(*) = (SELECT count(*) FROM features))
ORDER BY columns.name
