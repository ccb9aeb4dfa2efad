-- The ten clips with the lowest VMAF, the highest CAMBI and the highest motion.
SELECT name, lowest_first, place, clip_name, value
FROM (
    SELECT
        name,
        lowest_first,
        clip_name,
        value,
        row_number() OVER (
            PARTITION BY name
            ORDER BY CASE WHEN lowest_first THEN value ELSE -value END, clip_name
        ) AS place
    FROM feature_values
    JOIN (VALUES ('vmaf_mean', true), ('cambi_mean', false), ('motion_mean', false)) AS wanted(name, lowest_first) USING (name)
    WHERE isfinite(value)
)
WHERE place <= 10
ORDER BY name, place
