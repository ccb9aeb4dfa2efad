{#- The table features of a run that is not merged: of a clip with several rows the smallest one.
    Whether such rows agree, the merge decides. #}
CREATE TABLE features AS
SELECT {{ columns | identifier }}
FROM {{ shards }}
{% if repeated %}
QUALIFY row_number() OVER (PARTITION BY clip_name ORDER BY {{ columns | identifier }}) = 1
{% endif %}
