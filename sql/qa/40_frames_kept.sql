-- name: frames_kept
-- severity: error
-- returns: offenders
-- expected: as many frames of each clip as its clip log says
-- why: Frames that are lost or doubled would shift all that follow.
SELECT clip_name, expected::BIGINT AS logged, found::BIGINT AS kept, file
FROM frame_problems
WHERE "column" = 'frames'
ORDER BY clip_name
