{#- The labels of each row of the combined table, in its order. Each part is a table of labels; where several have a
    column, the first value counts. #}
SELECT
    {% for key in keys %}kept.{{ key | identifier }}, {% endfor %}

{% for column in columns %}
    coalesce({% for part in column.parts %}{{ part | identifier }}.{{ column.name | identifier }}{% if not loop.last %}, {% endif %}{% endfor %}) AS {{ column.name | identifier }}{% if not loop.last %},{% endif %}

{% endfor %}
FROM kept
{% for part in parts %}
LEFT JOIN {{ part.name | identifier }} ON {% for key in part.on %}kept.{{ key | identifier }} = {{ part.name | identifier }}.{{ key | identifier }}{% if not loop.last %} AND {% endif %}{% endfor %}

{% endfor %}
ORDER BY {% for key in order %}kept.{{ key | identifier }}{% if not loop.last %}, {% endif %}{% endfor %}
