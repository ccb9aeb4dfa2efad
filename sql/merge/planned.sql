{#- Each clip of the newest plan with its score and slice; and the clips that only earlier plans had, in none. #}
CREATE OR REPLACE TEMP TABLE planned AS
SELECT clip_name, mos, slice
FROM read_parquet({{ newest | literal }}, can_have_nan = true, hive_partitioning = false)
{%- if earlier %}
UNION ALL
SELECT DISTINCT clip_name, NULL, -1
FROM read_parquet({{ earlier | literal }}, can_have_nan = true, hive_partitioning = false)
WHERE clip_name NOT IN (
    SELECT clip_name FROM read_parquet({{ newest | literal }}, can_have_nan = true, hive_partitioning = false)
)
{%- endif %}
