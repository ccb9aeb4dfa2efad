{#- Creates a table with all rows of these Parquet files. #}
CREATE TABLE {{ name | identifier }} AS
SELECT *
FROM read_parquet({{ files | literal }}, can_have_nan = true, hive_partitioning = false)
