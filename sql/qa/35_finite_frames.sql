-- name: finite_frames
-- severity: error
-- returns: offenders
-- expected: a finite value on every frame of each measured feature that is not infinite on an identity pair
-- why: A mean over fewer frames than the clip has is that of another clip.
SELECT clip_name, frames, finite_frames, host
FROM bad_frames
ORDER BY clip_name
