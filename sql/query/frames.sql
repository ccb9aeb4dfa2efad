{#- The published frames of a run, which stay in their file. #}
CREATE TEMP VIEW frames AS
SELECT * FROM read_parquet({{ file | literal }}, can_have_nan = true, hive_partitioning = false)
