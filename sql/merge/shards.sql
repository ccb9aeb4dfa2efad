{#- All rows of these Parquet files; filename says where a row comes from. planned: with the score of the newest
    plan, and without rows that do not count by it (see vmafarm.shards.planned). #}
{% if not files -%}
(SELECT NULL::VARCHAR AS clip_name, NULL::DOUBLE AS mos, NULL::VARCHAR AS filename WHERE false)
{%- elif planned -%}
(
    SELECT rows.* REPLACE (coalesce(planned.mos, rows.mos) AS mos)
    FROM read_parquet({{ files | literal }}, can_have_nan = true, filename = true, hive_partitioning = false) AS rows
    JOIN placed ON rows.filename = placed.filename
    LEFT JOIN planned ON rows.clip_name = planned.clip_name
    WHERE planned.slice IS NULL OR planned.slice = placed.slice
)
{%- else -%}
read_parquet({{ files | literal }}, can_have_nan = true, filename = true, hive_partitioning = false)
{%- endif %}
