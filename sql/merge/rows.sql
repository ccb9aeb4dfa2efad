{#- The rows of the table, in byte order of their names. chosen: some clips have several rows, and the table
    of that name holds the one that counts. #}
SELECT {{ columns | identifier }}
FROM {{ shards }}
{% if chosen %}
WHERE clip_name NOT IN (SELECT clip_name FROM chosen)
UNION ALL
SELECT {{ columns | identifier }}
FROM chosen
{% endif %}
ORDER BY clip_name
