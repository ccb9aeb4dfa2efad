{#- All rows of these Parquet files; filename says where a row comes from. #}
{% if files -%}
read_parquet({{ files | literal }}, can_have_nan = true, filename = true, hive_partitioning = false)
{%- else -%}
(SELECT NULL::VARCHAR AS clip_name, NULL::DOUBLE AS mos, NULL::VARCHAR AS filename WHERE false)
{%- endif %}
