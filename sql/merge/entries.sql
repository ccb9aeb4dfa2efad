{#- Scoring times from the clip logs: one row for each audited clip, host and outcome, and one row per host for all
    other clips, so that only the names of the few audited clips are kept. planned: without those that do not count by
    the newest plan. #}
SELECT
    CASE WHEN audit <> '' THEN clip_name END AS clip_name,
    audit,
    audit_feature,
    audit_difference,
    host,
    sum(seconds_scoring) FILTER (WHERE isfinite(seconds_scoring)) AS seconds
FROM (
    SELECT
        '' AS clip_name, 0 AS slice, '' AS audit, '' AS audit_feature, 0::DOUBLE AS audit_difference, '' AS host,
        0::DOUBLE AS seconds_scoring
    WHERE false
{%- if recovered %}
    UNION ALL SELECT clip_name, slice, audit, audit_feature, audit_difference, host, seconds_scoring
    FROM recovered_entries
{%- endif %}
{%- if files %}
    UNION ALL SELECT clip_name, slice, audit, audit_feature, audit_difference, host, seconds_scoring
    FROM read_parquet({{ files | literal }}, can_have_nan = true, hive_partitioning = false)
{%- endif %}

) AS logged
{% if planned %}
WHERE NOT EXISTS (
    SELECT 1 FROM planned WHERE planned.clip_name = logged.clip_name AND planned.slice <> logged.slice
)
{% endif %}
GROUP BY ALL
