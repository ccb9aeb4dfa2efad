{#- Both values of each compared column for the clips of both tables, and their distance: 0 where they are equal
    (also NaN and NaN), infinite where there is a number on one side only, or different text. Renamed first: a
    column of a user may have any name. #}
SELECT
    clip
    {% for column in columns %}
    {% set a, b = [column.a | identifier, column.b | identifier] %}
    ,
    {{ a }},
    {{ b }},
    {% if column.is_number %}
    CASE
        WHEN {{ a }} IS NOT DISTINCT FROM {{ b }} THEN 0
        WHEN {{ a }} IS NULL OR {{ b }} IS NULL OR isnan({{ a }}::DOUBLE) OR isnan({{ b }}::DOUBLE)
        THEN 'infinity'::DOUBLE
        ELSE abs({{ a }} - {{ b }})::DOUBLE
    END
    {% else %}
    CASE WHEN {{ a }} IS NOT DISTINCT FROM {{ b }} THEN 0 ELSE 'infinity'::DOUBLE END
    {% endif %}
    AS {{ column.distance | identifier }}
    {% endfor %}
FROM (
    SELECT
        a.clip_name AS clip
        {% for column in columns %}
        ,
        a.{{ column.name | identifier }}::{{ column.type }} AS {{ column.a | identifier }},
        b.{{ column.name | identifier }}::{{ column.type }} AS {{ column.b | identifier }}
        {% endfor %}
    FROM a JOIN b ON a.clip_name = b.clip_name
)
