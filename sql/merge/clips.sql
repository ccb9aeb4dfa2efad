{#- Clips without a row or with several, from the names of the rows in the table found. #}
SELECT
    coalesce(planned.clip_name, found.clip_name) AS clip_name,
    found.copies IS NULL AS missing,
    coalesce(found.copies, 0) > 1 AS repeated,
    found.copies
FROM read_parquet({{ manifest | literal }}, can_have_nan = true, hive_partitioning = false) AS planned
FULL JOIN (SELECT clip_name, count(*) AS copies FROM found GROUP BY clip_name) AS found
    ON planned.clip_name = found.clip_name
WHERE found.copies IS NULL OR found.copies > 1
