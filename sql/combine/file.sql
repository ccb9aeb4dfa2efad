{#- All rows of a Parquet file. #}
read_parquet({{ file | literal }}, can_have_nan = true, hive_partitioning = false)
