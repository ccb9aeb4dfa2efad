{#- How far a GPU and the CPU are apart: one row for each feature that is the farthest apart on a clip. A clip with
    several entries counts with its worst audit, and one without a row does not count. #}
SELECT
    audit_feature AS feature,
    count(*) AS clips,
    count(*) FILTER (WHERE audit = 'differs') AS beyond,
    max(audit_difference) FILTER (WHERE isfinite(audit_difference)) AS largest
FROM (
    SELECT *, row_number() OVER (PARTITION BY clip_name ORDER BY list_position({{ outcomes | literal }}, audit)) AS place
    FROM entries
    WHERE audit_feature <> ''
        AND clip_name NOT IN (SELECT clip_name FROM problems WHERE missing)
)
WHERE place = 1
GROUP BY audit_feature
ORDER BY audit_feature
