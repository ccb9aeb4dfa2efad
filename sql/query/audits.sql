{#- The audited clips, with the outcome. #}
CREATE VIEW audits AS
SELECT clip_name, audit, audit_feature, audit_difference, {{ notes }} AS notes, host
FROM {{ entries | identifier }}
WHERE audit <> ''
