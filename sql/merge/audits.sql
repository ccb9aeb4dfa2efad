{#- The number of clips that have a row and were scored with both plans, by outcome; and the total scoring time.
    A clip with several entries counts once, with its worst audit. #}
SELECT
    count(*) FILTER (WHERE place = 1 AND audit IN ('equal', 'differs')) AS clips,
    count(*) FILTER (WHERE place = 1 AND audit = 'differs') AS differ,
    count(*) FILTER (WHERE place = 1 AND audit = 'failed') AS failed,
    coalesce(round(sum(seconds), 3), 0) AS seconds_scoring
FROM (
    SELECT *, row_number() OVER (PARTITION BY clip_name ORDER BY list_position({{ outcomes | literal }}, audit)) AS place
    FROM entries
    WHERE clip_name IS NULL OR clip_name NOT IN (SELECT clip_name FROM problems WHERE missing)
)
