-- name: repeatable
-- severity: info
-- returns: offenders
-- expected: no clip whose damage was concealed by the decoder
-- why: Every decode conceals it in its own way: scored again, such a clip may have other values.
SELECT DISTINCT clip_name, notes
FROM clips
SEMI JOIN features USING (clip_name)
WHERE NOT repeatable
ORDER BY clip_name
