-- name: numbers_where_nan
-- severity: error
-- returns: offenders
-- expected: ciede2000 and psnr_hvs are NaN: they are infinite where reference and distorted are the same
-- why: A number there means that the engine compared two different videos.
SELECT clip_name, name, value
FROM suspect_values
JOIN columns USING (name)
WHERE all_nan AND NOT isnan(value)
ORDER BY clip_name, name
