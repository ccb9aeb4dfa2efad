-- name: impossible_mos
-- severity: error
-- returns: offenders
-- expected: a score from corpus.mos_min to corpus.mos_max; NaN only with corpus.missing_mos = "nan"
-- why: A model would learn from a score that nobody can have given.
SELECT clip_name, mos
FROM features
CROSS JOIN (
    SELECT
        any_value(value) FILTER (WHERE key = 'mos_min')::DOUBLE AS lowest,
        any_value(value) FILTER (WHERE key = 'mos_max')::DOUBLE AS highest,
        any_value(value) FILTER (WHERE key = 'missing_mos') = 'nan' AS may_be_missing
    FROM run
)
WHERE CASE WHEN isnan(mos) THEN NOT may_be_missing ELSE mos NOT BETWEEN lowest AND highest END
ORDER BY clip_name
