{#- An empty field of a column of numbers has no value. #}
UPDATE raw
SET {{ column | identifier }} = NULL
WHERE trim({{ column | identifier }}) = ''
