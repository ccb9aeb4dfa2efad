{#- Of the mean of each feature over the clips: how many, how many NaN, and where the others lie. -#}
{% for name in names %}
SELECT
    {{ name | literal }} AS name,
    count(*) AS rows,
    count(*) FILTER (WHERE isnan({{ name | identifier }})) AS nan,
    min({{ name | identifier }}) FILTER (WHERE isfinite({{ name | identifier }})) AS lowest,
    median({{ name | identifier }}) FILTER (WHERE isfinite({{ name | identifier }})) AS middle,
    max({{ name | identifier }}) FILTER (WHERE isfinite({{ name | identifier }})) AS highest
FROM features
{% if not loop.last %}
UNION ALL
{% endif %}
{% endfor %}
