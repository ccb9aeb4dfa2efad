{#- How many slices have none, some or all of their planned rows. #}
SELECT
    count(*) AS slices,
    count(*) FILTER (WHERE rows = 0) AS empty,
    count(*) FILTER (WHERE rows > 0 AND rows < planned) AS partial,
    min(rows) AS fewest_rows,
    max(rows) AS most_rows
FROM (
    SELECT slice, count(*) AS planned, count(*) - count(problems.clip_name) AS rows
    FROM read_parquet({{ manifest | literal }}, can_have_nan = true, hive_partitioning = false) AS manifest
    LEFT JOIN (SELECT clip_name FROM problems WHERE missing) AS problems USING (clip_name)
    GROUP BY slice
)
