{#- Clips of one table that the other lacks: how many, and the first names. #}
SELECT count(*) AS clips, coalesce(min(clip_name, {{ most | literal }}), []) AS examples
FROM {{ here | identifier }}
ANTI JOIN {{ there | identifier }} USING (clip_name)
