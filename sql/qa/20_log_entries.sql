-- name: log_entries
-- severity: warn
-- returns: offenders
-- expected: an entry in the clip logs for each row
-- why: Only the clip logs say which machine scored a row and how long it took.
SELECT clip_name
FROM features
ANTI JOIN clips USING (clip_name)
ORDER BY clip_name
