-- name: lengths
-- severity: info
-- returns: offenders
-- expected: a length between half and twice that of most clips
-- why: Some containers state no length: then only its length shows that a clip was cut.
SELECT clip_name, frames, fps, round(frames / fps, 2) AS seconds, round(typical, 2) AS typical_seconds
FROM clips
SEMI JOIN features USING (clip_name)
CROSS JOIN (SELECT median(frames / fps) AS typical FROM clips WHERE fps > 0)
WHERE fps > 0 AND frames / fps NOT BETWEEN typical / 2 AND typical * 2
ORDER BY frames, clip_name
