{#- The entries of these clip logs, with the file that each is from. #}
CREATE OR REPLACE TEMP TABLE logged AS
{% if files %}
SELECT {{ columns | identifier }}, filename
FROM read_parquet({{ files | literal }}, can_have_nan = true, filename = true, hive_partitioning = false)
{% else %}
SELECT {{ columns | identifier }}, NULL::VARCHAR AS filename
FROM no_entries
{% endif %}
