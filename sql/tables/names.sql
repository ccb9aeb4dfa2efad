{#- How many rows of a table have a name, and how many names there are. #}
SELECT count(clip_name) AS named, count(DISTINCT clip_name) AS different
FROM {{ name | identifier }}
