-- The ten clips with the lowest VMAF, the highest CAMBI and the highest motion.
WITH most AS (
    (SELECT 'vmaf_mean' AS name, true AS lowest_first, clip_name, vmaf_mean AS value
     FROM features WHERE isfinite(vmaf_mean) ORDER BY vmaf_mean, clip_name LIMIT 10)
    UNION ALL
    (SELECT 'cambi_mean', false, clip_name, cambi_mean
     FROM features WHERE isfinite(cambi_mean) ORDER BY cambi_mean DESC, clip_name LIMIT 10)
    UNION ALL
    (SELECT 'motion_mean', false, clip_name, motion_mean
     FROM features WHERE isfinite(motion_mean) ORDER BY motion_mean DESC, clip_name LIMIT 10)
)
SELECT
    name,
    lowest_first,
    row_number() OVER (
        PARTITION BY name
        ORDER BY CASE WHEN lowest_first THEN value ELSE -value END, clip_name
    ) AS place,
    clip_name,
    value
FROM most
ORDER BY name, place
