{#- For each column whether the joined table has a row without a value. #}
SELECT
{% for column in columns %}
    count(*) > count(other.{{ column | identifier }}){% if not loop.last %},{% endif %}

{% endfor %}
FROM base
LEFT JOIN {{ other | identifier }} AS other USING ({{ keys | identifier }})
