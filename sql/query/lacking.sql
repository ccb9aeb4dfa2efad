{#- The number of clips without a row in features. #}
SELECT count(*) AS clips, count(*) - count(f.clip_name) AS lacking
FROM manifest AS m
LEFT JOIN features AS f USING (clip_name)
