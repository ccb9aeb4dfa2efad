{#- The row to keep for each clip that has several: the latest if that decides (table latest), else the smallest
    by its values alone, so that the result does not depend on writers, hosts, times or the order of files. Of equal
    rows the first file's, for those who read what lies beside it.
    signbit distinguishes 0.0 from -0.0, which are equal but have different bytes. #}
SELECT {{ columns | identifier }}, filename
FROM (
    SELECT copies.*, row_number() OVER (
        PARTITION BY copies.clip_name
        ORDER BY
            (latest.clip_name IS NOT NULL) DESC,
            {% for column in floats %}
            signbit(copies.{{ column | identifier }}),
            {% endfor %}
            {% for column in columns %}
            copies.{{ column | identifier }},
            {% endfor %}
            copies.filename
    ) AS place
    FROM copies
    LEFT JOIN latest ON copies.clip_name = latest.clip_name AND copies.filename = latest.filename
)
WHERE place = 1
