{#- The values of these rows, one row per clip and column; refused: the extractor refuses that frame size. #}
CREATE {{ kind }} suspect_values AS
SELECT clip_name, width, height, name, value, {{ refuses }} AS refused
FROM (
    SELECT clip_name, width, height, name, value
    FROM (SELECT * EXCLUDE (mos) FROM suspects)
    UNPIVOT INCLUDE NULLS (value FOR name IN (COLUMNS(* EXCLUDE (clip_name, width, height))))
)
JOIN columns USING (name)
