{#- The table features of a run that is not merged. #}
CREATE OR REPLACE TABLE features AS
SELECT {{ columns | identifier }}
FROM {{ shards }}
