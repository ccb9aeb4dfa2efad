{#- The rows that offend against one rule. #}
SELECT clip_name, width, height{% for column in columns if column not in ["clip_name", "width", "height"] %}, {{ column | identifier }}{% endfor %}, filename
FROM {{ shards }}
WHERE {{ condition }}
ORDER BY clip_name;
