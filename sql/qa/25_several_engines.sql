-- name: several_engines
-- severity: warn
-- returns: offenders
-- expected: entries in the clip logs of the one engine that the run was planned with
-- why: The merge refuses rows of another engine; such an entry says that one took part all the same.
SELECT clip_name, engine, host, writer
FROM clips
SEMI JOIN features USING (clip_name)
WHERE engine <> (SELECT value FROM run WHERE key = 'engine')
ORDER BY clip_name
