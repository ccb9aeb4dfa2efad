-- name: mean_and_std
-- severity: error
-- returns: offenders
-- expected: mean and standard deviation both numbers or both NaN; no standard deviation below 0
-- why: Both come from the same frames.
SELECT clip_name, columns.feature, mean.value AS mean, std.value AS std
FROM feature_values AS mean
JOIN columns ON columns.name = mean.name AND columns.statistic = 'mean'
JOIN columns AS other ON other.feature = columns.feature AND other.statistic = 'std'
JOIN feature_values AS std USING (clip_name)
WHERE std.name = other.name AND (isnan(mean.value) <> isnan(std.value) OR std.value < 0)
ORDER BY clip_name, columns.feature
