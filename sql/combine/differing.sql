{#- The first clip whose value differs, and how many there are; NaN is equal to NaN. #}
SELECT clip_name, one.{{ column | identifier }}::VARCHAR AS one, other.{{ column | identifier }}::VARCHAR AS other, count(*) OVER () AS clips
FROM {{ table | identifier }} AS one
JOIN {{ other | identifier }} AS other USING ({{ keys | identifier }})
WHERE one.{{ column | identifier }} IS DISTINCT FROM other.{{ column | identifier }}
ORDER BY clip_name
LIMIT 1
