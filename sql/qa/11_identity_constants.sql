-- name: identity_constants
-- severity: error
-- returns: offenders
-- expected: the known value of each feature that has one on an identity pair: exactly where the plan fills it in, within 1e-6 where it is measured, NaN only where the extractor refuses the frame size; and a standard deviation of 0
-- why: It shows that reference and distorted were the same frames, and that filled-in values are the right ones.
SELECT clip_name, name, value, constants
FROM suspect_values
JOIN columns USING (name)
WHERE constants IS NOT NULL
    AND CASE
        WHEN filled AND refused THEN NOT isnan(value)
        WHEN filled THEN NOT list_contains(constants, value)
        WHEN isnan(value) THEN shorter_side = 0
        ELSE NOT list_bool_or([abs(value - constant) <= 1e-6 FOR constant IN constants])
    END
ORDER BY clip_name, name
