{#- The number of all rows. #}
SELECT count(*) AS rows FROM {{ shards }}
