-- name: scored_twice
-- severity: info
-- returns: offenders
-- expected: each clip scored once
-- why: A requeued element did work that was done; the rows were compared in the merge.
SELECT clip_name, count(DISTINCT writer) AS writers, list(DISTINCT host ORDER BY host) AS hosts
FROM clips
SEMI JOIN features USING (clip_name)
GROUP BY clip_name
HAVING writers > 1
ORDER BY clip_name
