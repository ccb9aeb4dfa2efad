-- name: scored_twice
-- severity: info
-- returns: offenders
-- expected: each clip scored once
-- why: A requeued element repeated work; the merge compared the rows.
SELECT clip_name, count(DISTINCT writer) AS writers, list(DISTINCT host ORDER BY host) AS hosts
FROM clips
SEMI JOIN features USING (clip_name)
GROUP BY clip_name
HAVING writers > 1
ORDER BY clip_name
