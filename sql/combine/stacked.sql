{#- The rows of all tables under each other; source is the place of the table, from 0. #}
CREATE VIEW stacked AS
{% for table in tables %}
SELECT {{ loop.index0 | literal }} AS source, {{ table.corpus | literal }} AS corpus, {{ columns | identifier }}
FROM read_parquet({{ table.file | literal }}, can_have_nan = true, hive_partitioning = false)
{% if not loop.last %}
UNION ALL
{% endif %}
{% endfor %}
