{#- Clips whose rows disagree, and in which columns. Equal NaN agree; NaN and a number do not: DuckDB
    takes NaN as the greatest number, so that their difference is above any tolerance. Score and size
    must be the same exactly. #}
SELECT
    clip_name,
    max(copies) AS copies,
    list(feature ORDER BY feature) AS disagreeing,
    any_value(files) AS files
FROM (
    SELECT clip_name, feature, count(*) AS copies, list(DISTINCT filename ORDER BY filename) AS files
    FROM (
        SELECT *
        FROM {{ rows }}
        WHERE clip_name IN (SELECT clip_name FROM {{ rows }} GROUP BY clip_name HAVING count(*) > 1)
    )
    UNPIVOT (value FOR feature IN (COLUMNS(* EXCLUDE (clip_name, filename))))
    GROUP BY clip_name, feature
    HAVING max(value) <> min(value)
        AND (list_contains({{ exact | literal }}, feature) OR max(value) - min(value) > {{ tolerance | literal }})
)
GROUP BY clip_name
ORDER BY clip_name;
