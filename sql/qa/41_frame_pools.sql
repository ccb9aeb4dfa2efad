-- name: frame_pools
-- severity: error
-- returns: offenders
-- expected: pools of the frames equal to the table's, to 1e-12 of them
-- why: It shows that frames and rows are of the same scoring.
SELECT clip_name, "column" AS name, expected AS value, found AS of_frames, file
FROM frame_problems
WHERE "column" <> 'frames'
ORDER BY clip_name, name
