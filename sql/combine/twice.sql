{#- The first keys that a table has several times, or without a name, and how many there are. #}
SELECT clip_name, count(*) AS rows, count(*) OVER () AS clips
FROM {{ table | identifier }}
GROUP BY {{ keys | identifier }}
HAVING count(*) > 1 OR clip_name IS NULL
ORDER BY clip_name
LIMIT {{ limit | literal }}
