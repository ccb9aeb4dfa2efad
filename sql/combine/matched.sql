{#- How many rows of either table are of a clip that the other one has. #}
SELECT
    (SELECT count(*) FROM base) AS rows,
    (SELECT count(*) FROM base SEMI JOIN {{ other | identifier }} USING ({{ keys | identifier }})) AS found,
    (SELECT count(*) FROM {{ other | identifier }}) AS other_rows,
    (SELECT count(*) FROM {{ other | identifier }} SEMI JOIN base USING ({{ keys | identifier }})) AS used
