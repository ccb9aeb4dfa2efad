-- name: gpu_differences
-- severity: error
-- returns: offenders
-- expected: GPU and CPU within each feature's tolerance on the audited clips, or beyond it on a smaller share of these than engine.max_gpu_differences, which --set engine.max_gpu_differences=SHARE raises
-- why: GPU code is known to give wrong frames now and then; a GPU that differs on an audited clip has done so on others.
SELECT clip_name, audit_feature AS feature, audit_difference AS difference, notes, host
FROM audits
WHERE audit = 'differs'
    AND audit_feature <> ''
    AND (
        SELECT
            count(DISTINCT clip_name) FILTER (WHERE audit = 'differs')
            > (SELECT coalesce(max(CAST(value AS DOUBLE)), 0) FROM run WHERE key = 'max_gpu_differences')
            * count(DISTINCT clip_name)
        FROM audits
        WHERE audit_feature <> '' AND audit <> 'failed'
    )
ORDER BY clip_name
