{#- A table that a user has named. #}
CREATE VIEW {{ name | identifier }} AS
SELECT *
FROM read_parquet({{ [file] | literal }}, can_have_nan = true, hive_partitioning = false)
