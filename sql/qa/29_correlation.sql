-- name: correlation
-- severity: info
-- returns: figures
-- expected: some correlation with the scores
-- why: What a model can learn from one feature alone. Ties share their mean rank.
SELECT
    name,
    count(*) AS clips,
    round(corr(value_rank, mos_rank), 4) AS spearman,
    round(corr(value, mos), 4) AS pearson
FROM (
    SELECT
        name,
        value,
        mos,
        rank() OVER by_value + (count(*) OVER same_value - 1) / 2 AS value_rank,
        rank() OVER by_mos + (count(*) OVER same_mos - 1) / 2 AS mos_rank
    FROM feature_values
    JOIN columns USING (name)
    JOIN features USING (clip_name)
    WHERE columns.informative AND columns.statistic = 'mean' AND NOT isnan(value) AND NOT isnan(mos)
    WINDOW
        by_value AS (PARTITION BY name ORDER BY value),
        same_value AS (PARTITION BY name, value),
        by_mos AS (PARTITION BY name ORDER BY mos),
        same_mos AS (PARTITION BY name, mos)
)
GROUP BY name
ORDER BY abs(spearman) DESC NULLS LAST, name
