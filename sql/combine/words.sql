{#- For each column whether a field of it is neither empty nor a number. #}
SELECT
{% for column in columns %}
    count(*) FILTER (WHERE trim({{ column | identifier }}) <> '' AND try_cast({{ column | identifier }} AS DOUBLE) IS NULL) > 0{% if not loop.last %},{% endif %}

{% endfor %}
FROM raw
