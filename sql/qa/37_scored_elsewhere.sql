-- name: scored_elsewhere
-- severity: info
-- returns: offenders
-- expected: rows that were scored where engine.backend says
-- why: A GPU that fails on a clip leaves it to the CPU: the same program, but not the same last digits.
SELECT clip_name, backend, host, notes
FROM clips
SEMI JOIN features USING (clip_name)
WHERE backend NOT IN ('', (SELECT value FROM run WHERE key = 'backend'))
ORDER BY clip_name
