-- name: missing
-- severity: error
-- returns: offenders
-- expected: a row for each clip of the manifest, but for those that have failed for good
-- why: Rows that are lost are lost silently: training takes what is there.
SELECT clip_name, slice, (SELECT count(*) FROM failures WHERE failures.clip_name = manifest.clip_name) AS tries
FROM manifest
ANTI JOIN features USING (clip_name)
ANTI JOIN failed USING (clip_name)
ORDER BY clip_name
