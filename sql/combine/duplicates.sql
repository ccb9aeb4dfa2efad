{#- The first rows that are left out, each with the one that stays, and how many there are. #}
SELECT corpus, clip_name, kept_corpus, kept_name, count(*) OVER () AS clips
FROM dropped
ORDER BY corpus, clip_name
LIMIT {{ limit | literal }}
