{#- The first clips that a corpus has several times, and the tables that have them. #}
SELECT corpus, clip_name, list(DISTINCT source ORDER BY source) AS sources, count(*) OVER () AS clips
FROM keys
GROUP BY corpus, clip_name
HAVING count(*) > 1
ORDER BY corpus, clip_name
LIMIT {{ limit | literal }}
