{#- The table to which columns are added. #}
CREATE VIEW base AS
SELECT *
FROM read_parquet({{ file | literal }}, can_have_nan = true, hive_partitioning = false)
