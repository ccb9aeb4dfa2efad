-- name: zero_motion
-- severity: info
-- returns: figures
-- expected: repeated frames in few clips, unless the corpus is known for them
-- why: A motion of exactly 0 is a repeated frame: a still picture, 24 frames a second shown at 30, or a lost frame.
SELECT
    count(*) AS clips,
    count(*) FILTER (WHERE zero_motion > 0) AS with_repeated_frames,
    round(with_repeated_frames / nullif(clips, 0), 4) AS share_of_clips,
    round(sum(zero_motion) / nullif(sum(frames), 0), 4) AS share_of_frames,
    count(*) FILTER (WHERE 2 * zero_motion >= frames) AS mostly_repeated,
    arg_max(clip_name, zero_motion / frames) FILTER (WHERE zero_motion > 0) AS most_in
FROM (
    SELECT DISTINCT clip_name, frames, zero_motion
    FROM clips
    SEMI JOIN features USING (clip_name)
    WHERE zero_motion >= 0
    ORDER BY clip_name
)
