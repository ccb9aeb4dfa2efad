-- Clips furthest from the middle in one informative feature: by median and median absolute deviation, which a
-- few strange clips do not move (1.4826: what makes that deviation the standard one of a normal distribution).
SELECT clip_name, name, value, round((value - middle) / (1.4826 * spread), 1) AS deviations
FROM (
    SELECT name, clip_name, value, middle, median(abs(value - middle)) OVER (PARTITION BY name) AS spread
    FROM (
        SELECT name, clip_name, value, median(value) OVER (PARTITION BY name) AS middle
        FROM feature_values
        JOIN columns USING (name)
        WHERE columns.informative AND columns.statistic = 'mean' AND isfinite(value)
    )
)
WHERE spread > 0
QUALIFY row_number() OVER (PARTITION BY clip_name ORDER BY abs(value - middle) / spread DESC, name) = 1
ORDER BY abs(value - middle) / spread DESC, clip_name
LIMIT 15
