-- For each feature column: the number of NaN, and whether all other values are equal.
WITH found AS (
    SELECT name, count(value) AS rows, count_if(isnan(value)) AS nan, min(number) AS least, max(number) AS most
    FROM (SELECT name, value, CASE WHEN NOT isnan(value) THEN value END AS number FROM feature_values)
    GROUP BY name
)
SELECT
    feature,
    statistic,
    coalesce(rows, 0) AS rows,
    coalesce(nan, 0) AS nan,
    least IS NOT NULL AND least = most AS constant,
    least AS lowest,
    informative,
    all_nan AS expected_nan
FROM columns
LEFT JOIN found USING (name)
WHERE feature IS NOT NULL
ORDER BY position
