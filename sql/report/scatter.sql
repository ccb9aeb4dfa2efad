{#- Clips per cell of a grid: some columns across, the score up. -#}
WITH wanted AS (
    SELECT name, value, mos
    FROM (
{{ wanted }}
    )
    WHERE isfinite(mos)
),
bounds AS (
    SELECT
        name,
        min(value) AS lowest,
        greatest(max(value) - min(value), 1e-300) AS width,
        min(mos) AS lowest_mos,
        greatest(max(mos) - min(mos), 1e-300) AS height
    FROM wanted
    GROUP BY name
),
cells AS (
    SELECT
        name,
        least({{ across | literal }} - 1, floor((value - lowest) / width * {{ across | literal }})) AS across,
        least({{ up | literal }} - 1, floor((mos - lowest_mos) / height * {{ up | literal }})) AS up,
        count(*) AS clips
    FROM wanted
    JOIN bounds USING (name)
    GROUP BY ALL
)
SELECT
    name,
    lowest + (across + 0.5) * width / {{ across | literal }} AS value,
    lowest_mos + (up + 0.5) * height / {{ up | literal }} AS mos,
    clips
FROM cells
JOIN bounds USING (name)
ORDER BY name, value, mos
