{#- How many clips of the run have no row among the features. #}
SELECT count(*) AS clips, count(*) - count(f.clip_name) AS lacking
FROM manifest AS m
LEFT JOIN features AS f USING (clip_name)
