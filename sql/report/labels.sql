{#- How many rows have each value of a label, the most frequent ones first. -#}
SELECT
    labels.{{ column | identifier }} AS value,
    count(*) AS clips
FROM features
LEFT JOIN labels USING (clip_name)
GROUP BY ALL
ORDER BY clips DESC, value
LIMIT {{ most | literal }}
