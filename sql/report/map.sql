-- For each feature column: the number of NaN, and whether all other values are equal.
SELECT
    columns.feature,
    columns.statistic,
    count(value) AS rows,
    count(*) FILTER (WHERE isnan(value)) AS nan,
    count(*) FILTER (WHERE NOT isnan(value)) > 0
        AND min(value) FILTER (WHERE NOT isnan(value)) = max(value) FILTER (WHERE NOT isnan(value)) AS constant,
    min(value) FILTER (WHERE NOT isnan(value)) AS lowest,
    any_value(columns.informative) AS informative,
    any_value(columns.all_nan) AS expected_nan
FROM columns
LEFT JOIN feature_values USING (name)
WHERE columns.feature IS NOT NULL
GROUP BY columns.feature, columns.statistic, columns.position
ORDER BY columns.position
