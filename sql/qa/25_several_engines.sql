-- name: several_engines
-- severity: warn
-- returns: offenders
-- expected: only log entries of the engine that the run was planned with
-- why: The merge refuses rows of another engine; such an entry shows that one was used.
SELECT clip_name, engine, host, writer
FROM clips
SEMI JOIN features USING (clip_name)
WHERE engine <> (SELECT value FROM run WHERE key = 'engine')
ORDER BY clip_name
