-- name: duplicates
-- severity: error
-- returns: offenders
-- expected: one row per clip
-- why: A clip with two rows counts twice in training, and may be in both halves of a split.
SELECT clip_name, count(*) AS rows
FROM features
GROUP BY clip_name
HAVING rows > 1
ORDER BY clip_name
