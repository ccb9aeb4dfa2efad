-- name: motion2_above_motion
-- severity: warn
-- returns: offenders
-- expected: motion2 no greater than motion, within 1e-6
-- why: On each frame motion2 is the lesser of two values of motion, one of them its own.
SELECT clip_name, motion_mean, motion2_mean
FROM features
WHERE motion2_mean > motion_mean + 1e-6 AND NOT isnan(motion2_mean)
ORDER BY motion2_mean - motion_mean DESC, clip_name
