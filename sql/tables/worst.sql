{#- Per column the first clip by name that has the largest distance, and both of its values. #}
SELECT
    {% for column in columns %}
    arg_min({'clip': clip, 'a': {{ column.a | identifier }}, 'b': {{ column.b | identifier }}}, clip)
    FILTER ({{ column.distance | identifier }} = {{ column.largest | literal }})
    {%- if not loop.last %},{% endif %}

    {% endfor %}
FROM ({{ pairs }})
