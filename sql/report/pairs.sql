{#- Pearson's correlation of each pair of columns, over the rows in which both are finite. One scan: joining the
    columns with themselves would take minutes. #}
SELECT
{% for one, other in pairs %}
    corr({{ one | identifier }}, {{ other | identifier }})
        FILTER (WHERE isfinite({{ one | identifier }}) AND isfinite({{ other | identifier }})){% if not loop.last %},{% endif %}

{% endfor %}
FROM features
