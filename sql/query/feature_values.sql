{#- The features in long form: one row per clip and column. #}
CREATE VIEW feature_values AS
SELECT clip_name, name, value
FROM (SELECT * EXCLUDE (mos, width, height) FROM features)
UNPIVOT INCLUDE NULLS (value FOR name IN (COLUMNS(* EXCLUDE (clip_name))))
