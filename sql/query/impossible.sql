{#- The files of `logged`, and whether one of its values is none that a clip has. #}
SELECT filename, bool_or(
    false
{%- for column in columns %}
{% set value = column.name | identifier %}

    OR {{ value }} IS NULL
{%- if column.kind == "float" %}

    OR isinf({{ value }}) OR NOT isnan({{ value }}) AND {{ value }} NOT BETWEEN {{ column.lowest | literal }} AND {{ column.highest | literal }}
{%- elif column.kind == "integer" %}

    OR {{ value }} NOT BETWEEN {{ column.lowest | literal }} AND {{ column.highest | literal }}
{%- elif column.kind == "time" %}

    OR epoch_us({{ value }}) NOT BETWEEN {{ column.lowest | literal }} AND {{ column.highest | literal }}
{%- endif %}
{%- endfor %}

) AS wrong
FROM logged
GROUP BY filename
