{#- The clips that were scored with both plans, with the outcome. #}
CREATE VIEW audits AS
SELECT clip_name, audit, {{ notes }} AS notes, host
FROM {{ entries | identifier }}
WHERE audit <> ''
