{#- Rows of each table. #}
SELECT source, count(*) AS rows
FROM {{ table | identifier }}
GROUP BY source
