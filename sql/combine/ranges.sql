{#- The finite scores of each corpus. #}
SELECT
    corpus,
    min(mos) FILTER (WHERE isfinite(mos)) AS lowest,
    max(mos) FILTER (WHERE isfinite(mos)) AS highest
FROM keys
GROUP BY corpus
ORDER BY corpus
