{#- The 15 clips furthest from the median in one of some columns, three deviations at least, in median absolute
    deviations, which a few outliers do not change. 1.4826 times that is the standard deviation of a normal
    distribution. -#}
WITH wanted AS (
{{ wanted }}
)
SELECT clip_name, name, value, round((value - middle) / (1.4826 * spread), 1) AS deviations
FROM (
    SELECT name, clip_name, value, middle, median(abs(value - middle)) OVER (PARTITION BY name) AS spread
    FROM (SELECT name, clip_name, value, median(value) OVER (PARTITION BY name) AS middle FROM wanted)
)
WHERE spread > 0 AND abs(value - middle) >= 3 * 1.4826 * spread
QUALIFY row_number() OVER (PARTITION BY clip_name ORDER BY abs(value - middle) / spread DESC, name) = 1
ORDER BY abs(value - middle) / spread DESC, clip_name
LIMIT 15
