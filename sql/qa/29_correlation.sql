-- name: correlation
-- severity: info
-- returns: figures
-- expected: some correlation with the scores
-- why: What a model can learn from one feature alone. Ties share their mean rank.
WITH pairs AS MATERIALIZED (
    SELECT name, position, value, mos
    FROM (SELECT * EXCLUDE (clip_name, width, height) FROM features)
    UNPIVOT (value FOR name IN (COLUMNS('_mean$')))
    JOIN columns USING (name)
    WHERE columns.informative AND columns.statistic = 'mean' AND NOT isnan(value) AND NOT isnan(mos)
),
ranks AS (
    SELECT
        name,
        position,
        value,
        mos,
        rank() OVER by_value + (count(*) OVER (by_value RANGE BETWEEN CURRENT ROW AND CURRENT ROW) - 1) / 2 AS value_rank
    FROM pairs
    WINDOW by_value AS (PARTITION BY position ORDER BY value)
),
mos_ranks AS (
    SELECT position, mos, sum(ties) OVER (PARTITION BY position ORDER BY mos) - (ties - 1) / 2 AS mos_rank
    FROM (SELECT position, mos, count(*) AS ties FROM pairs GROUP BY position, mos)
)
SELECT
    name,
    count(*) AS clips,
    round(corr(value_rank, mos_rank), 4) AS spearman,
    round(corr(value, mos), 4) AS pearson
FROM ranks
JOIN mos_ranks USING (position, mos)
GROUP BY name
ORDER BY abs(spearman) DESC NULLS LAST, name
