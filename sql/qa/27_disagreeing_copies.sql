-- name: disagreeing_copies
-- severity: warn
-- returns: offenders
-- expected: equal rows wherever a clip has several
-- why: The same clip scored twice gave two values: an engine or a machine cannot be trusted.
SELECT clip_name, copies, columns, files
FROM conflicts
ORDER BY clip_name
