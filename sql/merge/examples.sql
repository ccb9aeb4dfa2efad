{#- The first clips with one of the problems. #}
SELECT clip_name, mos, planned_mos
FROM problems
WHERE {{ problem | identifier }}
ORDER BY clip_name
LIMIT {{ shown | literal }}
