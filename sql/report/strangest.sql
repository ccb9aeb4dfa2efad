-- The 15 clips furthest from the median in one informative feature, in median absolute deviations, which a few
-- outliers do not change. 1.4826 times that deviation is the standard deviation of a normal distribution.
WITH wanted AS MATERIALIZED (
    SELECT clip_name, name, value
    FROM (SELECT * EXCLUDE (mos, width, height) FROM features)
    UNPIVOT (value FOR name IN (COLUMNS('_mean$')))
    JOIN columns USING (name)
    WHERE columns.informative AND columns.statistic = 'mean' AND isfinite(value)
),
middles AS (
    SELECT name, median(value) AS middle
    FROM wanted
    GROUP BY name
),
spreads AS (
    SELECT name, any_value(middle) AS middle, median(abs(value - middle)) AS spread
    FROM wanted
    JOIN middles USING (name)
    GROUP BY name
),
furthest AS (
    -- A clip has at most 22 means, so these are 15 clips or more.
    SELECT clip_name, name, value, middle, spread
    FROM wanted
    JOIN spreads USING (name)
    WHERE spread > 0
    ORDER BY abs(value - middle) / spread DESC, clip_name, name
    LIMIT 330
)
SELECT clip_name, name, value, round((value - middle) / (1.4826 * spread), 1) AS deviations
FROM furthest
QUALIFY row_number() OVER (PARTITION BY clip_name ORDER BY abs(value - middle) / spread DESC, name) = 1
ORDER BY abs(value - middle) / spread DESC, clip_name
LIMIT 15
