-- name: frames
-- severity: warn
-- returns: offenders
-- expected: at least two frames, and as many frames or seconds as the clip itself says
-- why: Mean and standard deviation over a few frames of a cut clip are those of another clip.
SELECT DISTINCT clip_name, frames, declared_frames, round(frames / nullif(fps, 0), 2) AS seconds, round(declared_seconds, 2) AS declared_seconds
FROM clips
SEMI JOIN features USING (clip_name)
WHERE frames < 2 OR short
ORDER BY frames, clip_name
