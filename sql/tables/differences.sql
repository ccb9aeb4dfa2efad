{#- The number of clips in both tables; and per compared column clips that differ by more than its tolerance,
    those of them with a value on one side only, and the largest distance. #}
SELECT
    count(*)
    {% for column in columns %}
    ,
    {
        'clips': count(*) FILTER ({{ column.distance | identifier }} > {{ column.tolerance | literal }}),
        'nan': count(*) FILTER (
            {% if column.is_number %}
            coalesce(isnan({{ column.a | identifier }}::DOUBLE), true)
            <> coalesce(isnan({{ column.b | identifier }}::DOUBLE), true)
            {% else %}
            ({{ column.a | identifier }} IS NULL) <> ({{ column.b | identifier }} IS NULL)
            {% endif %}
        ),
        'largest': max({{ column.distance | identifier }})
    }
    {% endfor %}
FROM ({{ pairs }})
