{#- The table features from a table that lies alone: its columns of the schema. In a combined table a clip has the
    name corpus/clip_name, by which it is one clip, as in a run. #}
CREATE TABLE features AS
SELECT
{% if has_corpus %}
    corpus || '/' || clip_name AS clip_name{% if columns %},{% endif %}

{% endif %}
    {{ columns | identifier }}
FROM read_parquet({{ file | literal }}, can_have_nan = true, hive_partitioning = false)
