-- name: too_small
-- severity: error
-- returns: offenders
-- expected: a width and a height of at least 18 pixels
-- why: libvmaf scores no smaller frames, so such a row is wrong.
SELECT clip_name, width, height
FROM suspects
WHERE width < 18 OR height < 18
ORDER BY clip_name
