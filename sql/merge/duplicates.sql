{#- Clips with several rows, and the columns in which those disagree. Equal NaN agree; NaN and a
    number do not: DuckDB takes NaN as the greatest number, so that their difference is above any
    tolerance. Score and size must be the same exactly. #}
SELECT
    clip_name,
    count(*) AS copies,
    list_filter([
        {% for column in columns %}
        CASE WHEN max({{ column | identifier }}) <> min({{ column | identifier }}){% if column not in exact %}

            AND max({{ column | identifier }}) - min({{ column | identifier }}) > {{ tolerance | literal }}{% endif %}

            THEN {{ column | literal }} END{% if not loop.last %},{% endif %}

        {% endfor %}
    ], lambda disagreeing: disagreeing IS NOT NULL) AS disagreeing,
    list(filename ORDER BY filename) AS files
FROM {{ rows }}
GROUP BY clip_name
HAVING copies > 1
    {% if conflicts %}
    AND len(disagreeing) > 0
    {% endif %}
ORDER BY clip_name;
