{#- Rows beyond the first of their clips. #}
SELECT count(*) - count(DISTINCT clip_name) AS extra
FROM {{ shards }}
