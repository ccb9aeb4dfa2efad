-- Histograms in 40 bins of equal width: of the score, and of the mean of each informative feature.
WITH wanted AS (
    SELECT name, value
    FROM feature_values
    JOIN columns USING (name)
    WHERE columns.informative AND columns.statistic = 'mean' AND isfinite(value)
    UNION ALL
    SELECT 'mos', mos
    FROM features
    WHERE isfinite(mos)
),
bounds AS (
    SELECT name, min(value) AS lowest, max(value) AS highest
    FROM wanted
    GROUP BY name
)
SELECT
    name,
    lowest,
    highest,
    least(39, CASE WHEN highest > lowest THEN floor((value - lowest) / (highest - lowest) * 40) ELSE 0 END)::INTEGER AS bin,
    count(*) AS clips
FROM wanted
JOIN bounds USING (name)
GROUP BY ALL
ORDER BY name, bin
