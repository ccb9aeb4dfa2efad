-- The 15 slowest clips.
SELECT
    clip_name,
    round(seconds_decoding, 2) AS decoding,
    round(seconds_scoring, 2) AS scoring,
    frames,
    host
FROM clips
ORDER BY seconds_decoding + seconds_scoring DESC, clip_name
LIMIT 15
