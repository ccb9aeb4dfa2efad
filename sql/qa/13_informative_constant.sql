-- name: informative_constant
-- severity: warn
-- returns: offenders
-- expected: several values in the mean of each informative feature
-- why: Different clips with equal values point to a broken extractor, or to one clip under many names.
SELECT name, count(*) AS rows, any_value(value) AS value
FROM feature_values
JOIN columns USING (name)
WHERE columns.informative AND columns.statistic = 'mean' AND NOT isnan(value)
GROUP BY name
HAVING count(*) > 1 AND min(value) = max(value)
ORDER BY name
