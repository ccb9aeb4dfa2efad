{#- Histograms of some columns, in bins of equal width from the lowest to the highest value. -#}
WITH wanted AS (
{{ wanted }}
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
    CASE
        WHEN highest > lowest THEN least({{ bins | literal }} - 1, floor((value - lowest) / (highest - lowest) * {{ bins | literal }}))
        ELSE 0
    END::INTEGER AS bin,
    count(*) AS clips
FROM wanted
JOIN bounds USING (name)
GROUP BY ALL
ORDER BY name, bin
