-- name: identity_constants
-- severity: error
-- returns: offenders
-- expected: the known value of each feature that has one on an identity pair, within 1e-6, and a standard deviation of 0
-- why: It shows that reference and distorted were the same frames, and that filled values are the right ones.
SELECT clip_name, name, value, columns.constants
FROM feature_values
JOIN columns USING (name)
WHERE columns.constants IS NOT NULL
    AND NOT isnan(value)
    AND NOT list_bool_or([abs(value - constant) <= 1e-6 FOR constant IN columns.constants])
ORDER BY clip_name, name
