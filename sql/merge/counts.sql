{#- How many clips have which problem. #}
SELECT
    count(*) FILTER (WHERE missing) AS missing,
    count(*) FILTER (WHERE unknown) AS unknown,
    count(*) FILTER (WHERE wrong_mos) AS wrong_mos
FROM problems
