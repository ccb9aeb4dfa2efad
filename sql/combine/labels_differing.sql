{#- The first clip that has one label in one table and another in the other, and how many there are. #}
SELECT
    kept.clip_name,
    one.{{ column | identifier }}::VARCHAR AS one,
    other.{{ column | identifier }}::VARCHAR AS other,
    count(*) OVER () AS clips
FROM kept
JOIN {{ one.name | identifier }} AS one ON {% for key in one.on %}kept.{{ key | identifier }} = one.{{ key | identifier }}{% if not loop.last %} AND {% endif %}{% endfor %}

JOIN {{ other.name | identifier }} AS other ON {% for key in other.on %}kept.{{ key | identifier }} = other.{{ key | identifier }}{% if not loop.last %} AND {% endif %}{% endfor %}

WHERE one.{{ column | identifier }} <> other.{{ column | identifier }}
ORDER BY kept.clip_name
LIMIT 1
