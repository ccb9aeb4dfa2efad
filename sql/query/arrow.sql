{#- A table of the database for ad-hoc queries, from rows in memory that are registered as `source`. #}
CREATE TABLE {{ name | identifier }} AS
SELECT *
FROM source
