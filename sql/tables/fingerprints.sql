{#- The columns of each row that tell clips apart, with the place of the row in the file. #}
CREATE TABLE fingerprints AS
SELECT file_row_number AS place, {{ exact | identifier }}{% for column in columns %}, {{ column | identifier }}::DOUBLE AS {{ column | identifier }}{% endfor %}

FROM read_parquet({{ [file] | literal }}, can_have_nan = true, hive_partitioning = false, file_row_number = true)
