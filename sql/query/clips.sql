{#- The table clips: what the logs say, and what journals say beyond that. planned: without what does not count by
    the newest plan. Without the time zone (UTC): to pass time zones to Python, DuckDB needs another package. #}
CREATE TABLE clips AS
WITH entries AS (
    SELECT {{ columns | identifier }}
    FROM logged
    WHERE filename IN (SELECT unnest({{ scanned | literal }}))
    UNION ALL
    SELECT {{ columns | identifier }}
    FROM other_logs
)
SELECT * REPLACE (make_timestamp(epoch_us(finished_at)) AS finished_at)
FROM (
    SELECT * FROM entries
    UNION ALL
    SELECT {{ columns | identifier }}
    FROM journals
    ANTI JOIN entries USING (writer, clip_name)
)
{% if planned %}
SEMI JOIN manifest USING (clip_name, slice)
{% endif %}
