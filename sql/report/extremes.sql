{#- The ten clips with the lowest value of a column, or with the highest. -#}
SELECT clip_name, {{ name | identifier }} AS value
FROM features
WHERE isfinite({{ name | identifier }})
ORDER BY {{ name | identifier }}{% if not lowest_first %} DESC{% endif %}, clip_name
LIMIT 10
