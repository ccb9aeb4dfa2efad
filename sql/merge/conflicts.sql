{#- Clips whose rows disagree, and in which columns. Equal NaN agree; NaN and a number do not: DuckDB
    takes NaN as the greatest number, so that their difference is above any tolerance. NULL, which max and
    min ignore, agrees with nothing. Score and size must be exactly equal. #}
SELECT
    clip_name,
    any_value(copies) AS copies,
    list(feature ORDER BY feature) AS disagreeing,
    any_value(files) AS files
FROM (
    SELECT
        clip_name,
        count(*) AS copies,
        list(filename ORDER BY filename) AS files,
        CASE WHEN count(COLUMNS(* EXCLUDE (clip_name, filename))) <> count(*) THEN 'infinity'::DOUBLE
            WHEN max(COLUMNS(* EXCLUDE (clip_name, filename))) = min(COLUMNS(* EXCLUDE (clip_name, filename)))
            THEN 0
            ELSE max(COLUMNS(* EXCLUDE (clip_name, filename))) - min(COLUMNS(* EXCLUDE (clip_name, filename)))
        END AS '\0'
    FROM copies
    GROUP BY clip_name
    HAVING count(*) > 1
)
UNPIVOT (spread FOR feature IN (COLUMNS(* EXCLUDE (clip_name, copies, files))))
WHERE spread > CASE WHEN list_contains({{ exact | literal }}, feature) THEN 0 ELSE {{ tolerance | literal }} END
GROUP BY clip_name
ORDER BY clip_name;
