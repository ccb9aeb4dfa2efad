{#- Scoring times from the clip logs: one row for each clip that was audited, has frames without a finite value, or was
    scored elsewhere than the run's backend says, by host and outcome; and one row per host for all other clips, so that
    only the names of a few clips are kept. planned: without those that do not count by the newest plan. #}
SELECT
    CASE WHEN audit <> '' OR bad OR elsewhere THEN clip_name END AS clip_name,
    audit,
    audit_feature,
    audit_difference,
    host,
    CASE WHEN bad THEN frames END AS frames,
    CASE WHEN bad THEN finite_frames END AS finite_frames,
    elsewhere,
    sum(seconds_scoring) FILTER (WHERE isfinite(seconds_scoring)) AS seconds
FROM (
    SELECT
        *,
        finite_frames BETWEEN 0 AND frames - 1 AS bad,
        backend NOT IN ('', {{ backend | literal }}) AS elsewhere
    FROM (
        SELECT
            '' AS clip_name, 0 AS slice, '' AS audit, '' AS audit_feature, 0::DOUBLE AS audit_difference,
            '' AS host, 0::DOUBLE AS seconds_scoring, 0 AS frames, 0 AS finite_frames, '' AS backend
        WHERE false
{%- if recovered %}
        UNION ALL SELECT {{ columns | identifier }} FROM recovered_entries
{%- endif %}
{%- if files %}
        UNION ALL SELECT {{ columns | identifier }}
        FROM read_parquet({{ files | literal }}, can_have_nan = true, hive_partitioning = false)
{%- endif %}

    )
) AS logged
{% if planned %}
WHERE NOT EXISTS (
    SELECT 1 FROM planned WHERE planned.clip_name = logged.clip_name AND planned.slice <> logged.slice
)
{% endif %}
GROUP BY ALL
