{#- How many rows a query returns. #}
SELECT count(*)
FROM (
{{ query }}
)
