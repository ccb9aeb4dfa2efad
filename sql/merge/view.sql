{#- A view of the rows of these Parquet files. #}
CREATE VIEW {{ name | identifier }} AS
SELECT * EXCLUDE (filename)
FROM {{ shards }}
