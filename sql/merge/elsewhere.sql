{#- Clips with a row that were scored elsewhere than the run's backend says. #}
SELECT count(DISTINCT clip_name) AS clips
FROM entries
WHERE elsewhere AND clip_name NOT IN (SELECT clip_name FROM problems WHERE missing)
