{#- One row for each clip that has several: the latest, where that decides (table latest), else the
    smallest by its values alone, so that writers, hosts, times and the order of files change nothing.
    signbit tells 0.0 from -0.0, which are equal but not the same bytes. #}
SELECT {% for column in columns %}{{ column | identifier }}{% if not loop.last %}, {% endif %}{% endfor %}

FROM (
    SELECT copies.*, row_number() OVER (
        PARTITION BY clip_name
        ORDER BY
            (clip_name, filename) IN (SELECT (clip_name, filename) FROM latest) DESC
            {% for column in columns %}
            , {{ column | identifier }}
            {% endfor %}
            {% for column in floats %}
            , signbit({{ column | identifier }})
            {% endfor %}
    ) AS place
    FROM copies
)
WHERE place = 1
