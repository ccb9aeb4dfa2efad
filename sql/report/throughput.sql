-- Clips finished in each sixtieth of the duration of the run.
WITH span AS (
    SELECT min(finished_at) AS first, greatest(1, epoch(max(finished_at)) - epoch(min(finished_at))) AS seconds
    FROM clips
)
SELECT
    least(59, floor((epoch(finished_at) - epoch(first)) / seconds * 60))::INTEGER AS part,
    any_value(seconds) AS seconds,
    count(*) AS clips
FROM clips, span
GROUP BY part
ORDER BY part
