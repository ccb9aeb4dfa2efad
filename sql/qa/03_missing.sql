-- name: missing
-- severity: error
-- returns: offenders
-- expected: a row for each clip of the manifest that has not failed for good
-- why: Training uses what is there: a lost row would go unnoticed.
SELECT clip_name, slice, (SELECT count(*) FROM failures WHERE failures.clip_name = manifest.clip_name) AS tries
FROM manifest
ANTI JOIN features USING (clip_name)
ANTI JOIN failed USING (clip_name)
ORDER BY clip_name
