{#- All rows of the clips that have several rows. #}
SELECT {{ columns | identifier }}, filename
FROM {{ shards }}
WHERE clip_name IN (SELECT clip_name FROM problems WHERE repeated)
