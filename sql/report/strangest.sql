{#- The 15 clips furthest from the median in one of some columns, three deviations at least, in median absolute
    deviations, which a few outliers do not change. 1.4826 times that is the standard deviation of a normal
    distribution. -#}
WITH wanted AS MATERIALIZED (
{{ wanted }}
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
    WHERE spread > 0 AND abs(value - middle) >= 3 * 1.4826 * spread
    ORDER BY abs(value - middle) / spread DESC, clip_name, name
    LIMIT 330
)
SELECT clip_name, name, value, round((value - middle) / (1.4826 * spread), 1) AS deviations
FROM furthest
QUALIFY row_number() OVER (PARTITION BY clip_name ORDER BY abs(value - middle) / spread DESC, name) = 1
ORDER BY abs(value - middle) / spread DESC, clip_name
LIMIT 15
