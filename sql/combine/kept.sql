{#- What names each row of the combined table. #}
CREATE TABLE kept AS
SELECT {{ keys | identifier }}
FROM ({{ query }})
