{#- The first names that several rows of a table have. #}
SELECT clip_name
FROM {{ name | identifier }}
GROUP BY clip_name
HAVING count(*) > 1
ORDER BY clip_name
LIMIT {{ most | literal }}
