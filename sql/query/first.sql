{#- The first rows of a query. #}
SELECT *
FROM (
{{ query }}
)
LIMIT {{ rows | literal }}
