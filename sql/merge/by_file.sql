{#- How many clips have their row in which file; a clip with several rows counts for the first of its files. #}
SELECT filename, count(*) AS clips
FROM (SELECT clip_name, min(filename) AS filename FROM {{ shards }} GROUP BY clip_name)
GROUP BY filename
