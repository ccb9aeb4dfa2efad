-- name: out_of_range
-- severity: warn
-- returns: offenders
-- expected: values within the bounds of their feature (docs/columns.md), within 0.001
-- why: A value beyond the definition of its feature is a fault of the engine.
SELECT clip_name, name, value, lowest, highest
FROM feature_values
JOIN columns USING (name)
WHERE NOT isnan(value) AND (value < lowest - 1e-3 OR value > highest + 1e-3 OR isinf(value))
ORDER BY clip_name, name
