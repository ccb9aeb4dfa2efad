{#- The number of rows beyond the first of each clip. #}
SELECT count(*) - count(DISTINCT clip_name) AS extra
FROM {{ rows }}
