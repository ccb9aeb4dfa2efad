{#- The clips with one of the problems that clips.sql counts, for printing. #}
{% if problem == "missing" %}
SELECT clip_name, slice
FROM read_parquet({{ manifest | literal }}, can_have_nan = true, hive_partitioning = false)
ANTI JOIN {{ shards }} AS shards USING (clip_name)
{% elif problem == "unknown" %}
SELECT clip_name, shards.mos, shards.filename
FROM {{ shards }} AS shards
ANTI JOIN read_parquet({{ manifest | literal }}, can_have_nan = true, hive_partitioning = false) AS manifest
    USING (clip_name)
{% elif problem == "wrong_mos" %}
SELECT clip_name, shards.mos, manifest.mos AS planned_mos, shards.filename
FROM {{ shards }} AS shards
JOIN read_parquet({{ manifest | literal }}, can_have_nan = true, hive_partitioning = false) AS manifest
    USING (clip_name)
WHERE shards.mos IS DISTINCT FROM manifest.mos
{% elif problem == "repeated" %}
SELECT clip_name, count(*) AS copies, list(filename) AS files
FROM {{ shards }}
GROUP BY clip_name
HAVING copies > 1
{% endif %}
ORDER BY clip_name;
