{#- A table from rows as JSON. #}
CREATE TABLE {{ name | identifier }} AS
SELECT unnest(from_json($rows, {{ types | literal }}), max_depth := 2)
