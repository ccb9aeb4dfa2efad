-- name: mean_and_std
-- severity: error
-- returns: offenders
-- expected: mean and standard deviation both finite or both NaN; no standard deviation below 0
-- why: Both come from the same frames.
SELECT clip_name, feature, mean.value AS mean, std.value AS std
FROM (SELECT * FROM suspect_values JOIN columns USING (name) WHERE statistic = 'mean') AS mean
JOIN (SELECT * FROM suspect_values JOIN columns USING (name) WHERE statistic = 'std') AS std
    USING (clip_name, feature)
WHERE isnan(mean.value) <> isnan(std.value) OR isinf(mean.value) OR isinf(std.value) OR std.value < 0
ORDER BY clip_name, feature
