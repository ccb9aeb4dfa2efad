-- When the clips were scored, and what that took: seconds of decoding and scoring.
SELECT
    count(*) AS clips,
    min(finished_at) AS first,
    max(finished_at) AS last,
    count(DISTINCT host) AS hosts,
    sum(seconds_decoding + seconds_scoring) AS seconds,
    sum(frames) AS frames
FROM clips
