{#- The columns of another table under the names that they get, each of a type that an added column may have. A
    number that is not there is NaN. #}
CREATE {{ kind }} {{ name | identifier }} AS
SELECT
{% for column in columns %}
    {% if column.is_number -%}
    coalesce({{ column.at | identifier }}::DOUBLE, 'nan'::DOUBLE)
    {%- else -%}
    {{ column.at | identifier }}::{{ column.type }}
    {%- endif %} AS {{ column.name | identifier }}{% if not loop.last %},{% endif %}

{% endfor %}
FROM {{ source }}
