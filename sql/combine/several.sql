{#- How many names are in several corpora, and the first of them. #}
SELECT count(*) AS names, min(clip_name) AS first
FROM (
    SELECT clip_name
    FROM keys
    GROUP BY clip_name
    HAVING count(DISTINCT corpus) > 1
)
