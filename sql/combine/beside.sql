{#- The rows of the base with the columns of the other tables, in the order of the keys of the base, in bytes. #}
SELECT
    base.*,
{% for other in others %}
{% for column in other.columns %}
    {% if column.is_number -%}
    coalesce({{ other.name | identifier }}.{{ column.name | identifier }}, 'nan'::DOUBLE)
    {%- else -%}
    {{ other.name | identifier }}.{{ column.name | identifier }}
    {%- endif %} AS {{ column.name | identifier }}{% if not (loop.last and other is sameas others[-1]) %},{% endif %}

{% endfor %}
{% endfor %}
FROM base
{% for other in others %}
LEFT JOIN {{ other.name | identifier }} ON {% for key in other.on %}base.{{ key | identifier }} = {{ other.name | identifier }}.{{ key | identifier }}{% if not loop.last %} AND {% endif %}{% endfor %}

{% endfor %}
ORDER BY {% for key in order %}base.{{ key | identifier }}{% if not loop.last %}, {% endif %}{% endfor %}

