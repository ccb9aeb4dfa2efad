-- Seconds per slice and per clip, for the 15 slices with the slowest clips.
SELECT
    slice,
    count(*) AS clips,
    round(sum(seconds_decoding + seconds_scoring), 1) AS seconds,
    round(avg(seconds_decoding + seconds_scoring), 3) AS seconds_per_clip
FROM clips
GROUP BY slice
ORDER BY seconds_per_clip DESC, slice
LIMIT 15
