{#- How many rows are of clips whose content is known. #}
SELECT count(*) AS rows
FROM keys
SEMI JOIN hashes USING (source, clip_name)
