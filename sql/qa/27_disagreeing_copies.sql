-- name: disagreeing_copies
-- severity: warn
-- returns: offenders
-- expected: rows of one clip that are equal
-- why: The same clip scored twice gave two values: an engine or a machine is not to be trusted.
SELECT clip_name, copies, columns, files
FROM conflicts
ORDER BY clip_name
