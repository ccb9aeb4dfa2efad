{#- The table features of a run that is not merged. For a clip with several rows it takes the smallest one;
    whether they agree is for the merge to decide. #}
CREATE TABLE features AS
SELECT {{ columns | identifier }}
FROM {{ shards }}
{% if repeated %}
QUALIFY row_number() OVER (PARTITION BY clip_name ORDER BY {{ columns | identifier }}) = 1
{% endif %}
