{#- The file from which the row of each clip comes, in the order of the table; chosen as in merge/rows. #}
SELECT clip_name, filename
FROM {{ shards }}
{% if chosen %}
WHERE clip_name NOT IN (SELECT clip_name FROM chosen)
UNION ALL
SELECT clip_name, filename
FROM chosen
{% endif %}
ORDER BY clip_name
