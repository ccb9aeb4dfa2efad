-- name: mos_outliers
-- severity: warn
-- returns: offenders
-- expected: scores within three interquartile ranges of the middle half
-- why: Such a score is more often a slip in the scores file than an opinion.
SELECT clip_name, mos
FROM features, (
    SELECT quantile_cont(mos, 0.25) AS low, quantile_cont(mos, 0.75) AS high
    FROM features
    WHERE NOT isnan(mos)
)
WHERE NOT isnan(mos) AND (mos < low - 3 * (high - low) OR mos > high + 3 * (high - low))
ORDER BY mos, clip_name
