{#- Clips whose audit ended in one way, with what their notes say. #}
SELECT clip_name, notes, host
FROM read_parquet({{ files | literal }}, can_have_nan = true, hive_partitioning = false, union_by_name = true)
WHERE audit = {{ outcome | literal }}
ORDER BY clip_name;
