{#- All rows of the clips that have several. #}
SELECT {% for column in columns %}{{ column | identifier }}, {% endfor %}filename
FROM {{ shards }}
WHERE clip_name IN (SELECT clip_name FROM problems WHERE repeated)
