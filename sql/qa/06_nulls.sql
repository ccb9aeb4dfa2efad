-- name: nulls
-- severity: error
-- returns: offenders
-- expected: no NULL: each column of each row holds a number or NaN
-- why: Readers treat NULL and NaN differently.
SELECT clip_name, name
FROM suspect_values
WHERE value IS NULL
UNION ALL
SELECT clip_name, 'clip_name, mos, width or height'
FROM suspects
WHERE clip_name IS NULL OR mos IS NULL OR width IS NULL OR height IS NULL
ORDER BY clip_name, name
