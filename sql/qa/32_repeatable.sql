-- name: repeatable
-- severity: info
-- returns: offenders
-- expected: no clip whose damage was concealed by the decoder
-- why: Each decode conceals damage differently: scored again, such a clip may get other values.
SELECT DISTINCT clip_name, notes
FROM clips
SEMI JOIN features USING (clip_name)
WHERE NOT repeatable
ORDER BY clip_name
