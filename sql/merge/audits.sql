{#- What the clip logs tell of the clips that have a row: the time of scoring, and of those that were scored
    by both plans the time of each. A clip with several entries counts once, by its worst audit. #}
SELECT
    count(*) FILTER (WHERE audit IN ('equal', 'differs')) AS clips,
    count(*) FILTER (WHERE audit = 'differs') AS differ,
    count(*) FILTER (WHERE audit = 'failed') AS failed,
    coalesce(round(sum(seconds_scoring) FILTER (WHERE audit IN ('equal', 'differs')), 3), 0) AS seconds_own,
    coalesce(round(sum(seconds_other_plan) FILTER (WHERE audit IN ('equal', 'differs')), 3), 0) AS seconds_other,
    coalesce(round(sum(seconds_scoring), 3), 0) AS seconds_scoring
FROM (
    SELECT *, row_number() OVER (
        PARTITION BY clip_name
        ORDER BY list_position({{ outcomes | literal }}, audit), seconds_scoring, seconds_other_plan
    ) AS place
    FROM (
        SELECT '' AS clip_name, '' AS audit, 0::DOUBLE AS seconds_scoring, 0::DOUBLE AS seconds_other_plan
        WHERE false
{%- if recovered %}
        UNION ALL SELECT clip_name, audit, seconds_scoring, seconds_other_plan FROM recovered_entries
{%- endif %}
{%- if files %}
        UNION ALL SELECT clip_name, audit, seconds_scoring, seconds_other_plan
        FROM read_parquet({{ files | literal }}, can_have_nan = true, hive_partitioning = false)
{%- endif %}
    )
)
WHERE place = 1 AND clip_name NOT IN (SELECT clip_name FROM problems WHERE missing)
