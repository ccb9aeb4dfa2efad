-- name: audits
-- severity: error
-- returns: offenders
-- expected: equal values by both plans on each clip that was scored by both
-- why: Were a constant of the plan not what is measured, its column would be wrong in every row.
SELECT clip_name, audit, notes, host
FROM clips
WHERE audit = 'differs'
ORDER BY clip_name
