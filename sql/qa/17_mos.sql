-- name: mos
-- severity: info
-- returns: figures
-- expected: opinion scores over the whole scale
-- why: The distribution that a model should learn.
SELECT
    count(*) AS clips,
    count(*) FILTER (WHERE isnan(mos)) AS without_score,
    min(mos) FILTER (WHERE NOT isnan(mos)) AS lowest,
    quantile_cont(mos, 0.25) FILTER (WHERE NOT isnan(mos)) AS quarter,
    median(mos) FILTER (WHERE NOT isnan(mos)) AS median,
    quantile_cont(mos, 0.75) FILTER (WHERE NOT isnan(mos)) AS three_quarters,
    max(mos) FILTER (WHERE NOT isnan(mos)) AS highest,
    avg(mos) FILTER (WHERE NOT isnan(mos)) AS mean,
    stddev_pop(mos) FILTER (WHERE NOT isnan(mos)) AS std
FROM features
