-- name: gpu_agreement
-- severity: info
-- returns: figures
-- expected: one row for each feature that is the farthest apart on a clip that GPU and CPU scored
-- why: How many clips of a GPU were audited, and how far it is from the CPU; no row where no GPU was used.
SELECT
    audit_feature AS feature,
    count(DISTINCT clip_name) AS clips,
    count(DISTINCT clip_name) FILTER (WHERE audit = 'differs') AS beyond_tolerance,
    max(audit_difference) FILTER (WHERE isfinite(audit_difference)) AS largest_difference
FROM audits
WHERE audit_feature <> ''
GROUP BY audit_feature
ORDER BY beyond_tolerance DESC, clips DESC, feature
