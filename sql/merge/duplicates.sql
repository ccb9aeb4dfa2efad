{#- Clips with several rows, and the columns in which those disagree. Equal NaN agree; NaN and a
    number do not: DuckDB takes NaN as the greatest number, so that their difference is above any
    tolerance. The width, the height and the score must be the same exactly. #}
SELECT
    clip_name,
    count(*) AS copies,
    list_filter([
        {% for column in exact %}
        CASE WHEN max({{ column | identifier }}) <> min({{ column | identifier }}) THEN {{ column | literal }} END,
        {% endfor %}
        {% for column in near %}
        CASE WHEN max({{ column | identifier }}) <> min({{ column | identifier }})
            AND max({{ column | identifier }}) - min({{ column | identifier }}) > {{ tolerance | literal }}
            THEN {{ column | literal }} END{{ "" | raw if loop.last else "," | raw }}
        {% endfor %}
    ], lambda disagreeing: disagreeing IS NOT NULL) AS disagreeing,
    list(filename ORDER BY filename) AS files
FROM {{ rows }}
GROUP BY clip_name
HAVING count(*) > 1{% if conflicts %} AND len(disagreeing) > 0{% endif %}

ORDER BY clip_name;
