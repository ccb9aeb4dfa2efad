-- name: fingerprints
-- severity: warn
-- returns: offenders
-- expected: no two clips with nearly the same features
-- why: Copies of a clip on both sides of a split leak information: keep each group on one side.
WITH grids AS (
    SELECT
        clip_name,
        mos,
        unnest([0, 0.5]) AS shift,
        [
            width,
            height,
            floor(motion_mean * 2000 + shift),
            floor(motion2_mean * 2000 + shift),
            floor(cambi_mean * 2000 + shift),
            floor(vmaf_mean * 2000 + shift),
            floor(motion_std * 2000 + shift),
            floor(vif_scale0_mean * 1e7 + shift)
        ] AS cell
    FROM features
)
SELECT DISTINCT list(clip_name ORDER BY clip_name) AS clips, count(*) AS copies, max(mos) - min(mos) AS mos_spread
FROM grids
GROUP BY cell, shift
HAVING copies > 1
ORDER BY copies DESC, clips
