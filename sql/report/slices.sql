-- What each slice took: seconds of all its clips, and of one.
SELECT
    slice,
    count(*) AS clips,
    round(sum(seconds_decoding + seconds_scoring), 1) AS seconds,
    round(avg(seconds_decoding + seconds_scoring), 3) AS seconds_a_clip
FROM clips
GROUP BY slice
ORDER BY seconds_a_clip DESC, slice
LIMIT 15
