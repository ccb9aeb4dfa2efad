{#- Some columns in long form, finite values only. #}
{% for name in names %}
SELECT {{ name | literal }} AS name, clip_name, mos, {{ name | identifier }} AS value
FROM features
WHERE isfinite({{ name | identifier }})
{% if not loop.last %}
UNION ALL
{% endif %}
{% endfor %}
