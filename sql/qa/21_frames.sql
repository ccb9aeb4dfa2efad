-- name: frames
-- severity: warn
-- returns: offenders
-- expected: at least two frames, and a length within a half and twice that of most clips
-- why: Mean and standard deviation over a few frames of a cut clip are those of another clip.
SELECT clip_name, frames, fps, round(frames / fps, 2) AS seconds, round(typical, 2) AS typical_seconds
FROM clips
SEMI JOIN features USING (clip_name)
CROSS JOIN (SELECT median(frames / fps) AS typical FROM clips WHERE fps > 0)
WHERE frames < 2 OR (fps > 0 AND frames / fps NOT BETWEEN typical / 2 AND typical * 2)
ORDER BY frames, clip_name
