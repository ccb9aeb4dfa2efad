-- name: not_in_manifest
-- severity: error
-- returns: offenders
-- expected: each row is of a clip in the manifest and has its planned score
-- why: A row with another score would teach a model something else.
SELECT features.clip_name, features.mos, manifest.mos AS planned_mos
FROM features
LEFT JOIN manifest USING (clip_name)
WHERE manifest.clip_name IS NULL OR features.mos IS DISTINCT FROM manifest.mos
ORDER BY clip_name
