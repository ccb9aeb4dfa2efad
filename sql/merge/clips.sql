{#- One line for each clip with which something is off: no row, a row that was not planned, another
    score than planned (NaN equals NaN), several rows. Of the table found, the names and scores in the draft. #}
SELECT *
FROM (
    SELECT
        coalesce(planned.clip_name, found.clip_name) AS clip_name,
        found.copies IS NULL AS missing,
        planned.slice IS NULL AS unknown,
        planned.slice IS NOT NULL AND found.copies IS NOT NULL
            AND (found.lowest IS DISTINCT FROM planned.mos OR found.highest IS DISTINCT FROM planned.mos)
            AS wrong_mos,
        coalesce(found.copies, 0) > 1 AS repeated,
        found.copies,
        found.lowest AS mos,
        planned.mos AS planned_mos
    FROM read_parquet({{ manifest | literal }}, can_have_nan = true, hive_partitioning = false) AS planned
    FULL JOIN (
        SELECT clip_name, count(*) AS copies, min(mos) AS lowest, max(mos) AS highest
        FROM found
        GROUP BY clip_name
    ) AS found ON planned.clip_name = found.clip_name
)
WHERE missing OR unknown OR wrong_mos OR repeated
