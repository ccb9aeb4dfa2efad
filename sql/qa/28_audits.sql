-- name: audits
-- severity: error
-- returns: offenders
-- expected: equal values with both plans on each clip that was scored with both
-- why: If a constant of the plan is not what is measured, its column is wrong in every row.
SELECT clip_name, audit, notes, host
FROM audits
WHERE audit = 'differs' AND audit_feature = ''
ORDER BY clip_name
