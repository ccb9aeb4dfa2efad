{#- The table features of a run that is not merged. Of a clip with several rows it has the smallest;
    the merge checks whether they agree. #}
CREATE TABLE features AS
SELECT {{ columns | identifier }}
FROM {{ shards }}
{% if repeated %}
QUALIFY row_number() OVER (PARTITION BY clip_name ORDER BY {{ columns | identifier }}) = 1
{% endif %}
