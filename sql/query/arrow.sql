{#- Creates a table from rows in memory, which are registered as `source`. #}
CREATE TABLE {{ name | identifier }} AS
SELECT *
FROM source
