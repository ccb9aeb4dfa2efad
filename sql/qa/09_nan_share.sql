-- name: nan_share
-- severity: info
-- returns: figures
-- expected: NaN in all rows of ciede2000 and psnr_hvs; in cambi and float_ms_ssim where frames are too small
-- why: Before training, such columns are dropped or filled.
SELECT
    name,
    count(*) FILTER (WHERE isnan(value)) AS nan,
    round(nan / count(*), 6) AS share,
    any_value(columns.all_nan) AS expected_in_all,
    (SELECT count(*) FROM refused WHERE refused.name = feature_values.name) AS expected_by_size
FROM feature_values
JOIN columns USING (name)
GROUP BY name
HAVING nan > 0
ORDER BY share DESC, name
