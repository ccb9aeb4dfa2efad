-- name: duplicates
-- severity: error
-- returns: offenders
-- expected: one row a clip
-- why: A clip that stands twice counts twice in training, and may stand in both halves of a split.
SELECT clip_name, count(*) AS rows
FROM features
GROUP BY clip_name
HAVING rows > 1
ORDER BY clip_name
