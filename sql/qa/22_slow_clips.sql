-- name: slow_clips
-- severity: info
-- returns: offenders
-- expected: no clip that took over five times as long as expected from its pixels
-- why: A node with a fault, or a clip that is hard to decode.
SELECT clip_name, host, round(seconds, 2) AS seconds, round(seconds / expected, 1) AS times_the_expected
FROM (
    SELECT
        clip_name,
        host,
        seconds_decoding + seconds_scoring AS seconds,
        frames * width * height AS pixels,
        median(seconds / nullif(pixels, 0)) OVER () * pixels AS expected
    FROM clips
    JOIN features USING (clip_name)
)
WHERE seconds > 5 * expected
ORDER BY seconds / expected DESC, clip_name
