{#- Of a clip with several rows features keeps the smallest; the merge checks whether they agree. #}
CREATE OR REPLACE TABLE features AS
SELECT *
FROM features
QUALIFY row_number() OVER (PARTITION BY clip_name ORDER BY {{ columns | identifier }}) = 1
