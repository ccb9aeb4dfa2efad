-- name: several_engines
-- severity: error
-- returns: offenders
-- expected: rows of the one engine that the run was planned with
-- why: Two engines give two values; a table has one.
SELECT clip_name, engine, host, writer
FROM clips
SEMI JOIN features USING (clip_name)
WHERE engine <> (SELECT value FROM run WHERE key = 'engine')
ORDER BY clip_name
