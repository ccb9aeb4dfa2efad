{#- Rows that are left out because a row before them has the same SHA-256: one of a table that was named
    earlier, or of the same table with a smaller name. #}
CREATE TABLE dropped AS
SELECT * EXCLUDE (place)
FROM (
    SELECT
        source,
        corpus,
        clip_name,
        first_value(corpus) OVER same AS kept_corpus,
        first_value(clip_name) OVER same AS kept_name,
        row_number() OVER same AS place
    FROM keys
    JOIN hashes USING (source, clip_name)
    WINDOW same AS (PARTITION BY sha256 ORDER BY source, clip_name)
)
WHERE place > 1
