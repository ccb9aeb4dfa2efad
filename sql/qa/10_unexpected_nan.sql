-- name: unexpected_nan
-- severity: warn
-- returns: offenders
-- expected: a number wherever the extractor takes frames of that size, and has a value for each
-- why: No frame had a finite value: the engine failed to measure the feature on that clip.
SELECT clip_name, name, width, height
FROM suspect_values
JOIN columns USING (name)
WHERE isnan(value) AND NOT all_nan AND finite AND NOT refused
ORDER BY clip_name, name
