-- name: log_entries
-- severity: warn
-- returns: offenders
-- expected: an entry in the clip logs for each row
-- why: Who made a row, where and how long it took stands there alone.
SELECT clip_name
FROM features
ANTI JOIN clips USING (clip_name)
ORDER BY clip_name
