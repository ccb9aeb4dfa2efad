{#- The first clips of one table that the other one lacks. #}
SELECT clip_name
FROM {{ table | identifier }}
ANTI JOIN {{ other | identifier }} USING ({{ keys | identifier }})
ORDER BY clip_name
LIMIT {{ limit | literal }}
