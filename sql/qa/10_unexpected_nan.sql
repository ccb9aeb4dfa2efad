-- name: unexpected_nan
-- severity: warn
-- returns: offenders
-- expected: a number wherever the extractor takes frames of that size
-- why: No frame had a finite value: the engine gave the feature up on that clip.
SELECT clip_name, name, width, height
FROM feature_values
JOIN columns USING (name)
JOIN features USING (clip_name)
ANTI JOIN refused USING (clip_name, name)
WHERE isnan(value) AND NOT columns.all_nan
ORDER BY clip_name, name
