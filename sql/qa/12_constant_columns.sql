-- name: constant_columns
-- severity: info
-- returns: figures
-- expected: one value in the columns of features that are known on an identity pair
-- why: A model can learn nothing from them: leave them out.
SELECT name, any_value(value) AS value, any_value(NOT columns.informative) AS expected
FROM feature_values
JOIN columns USING (name)
WHERE NOT isnan(value)
GROUP BY name
HAVING min(value) = max(value)
ORDER BY expected, name
