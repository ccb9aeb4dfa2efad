{#- What makes a row offend against a rule; counted by columns.sql, shown by offending.sql.
    DuckDB takes NaN as greater than any number, and as equal to itself. #}
{% set column = columns[0] %}
{% if rule == "null" %}
{{ column | identifier }} IS NULL
{%- elif rule == "nan" %}
isnan({{ column | identifier }})
{%- elif rule == "number" %}
NOT isnan({{ column | identifier }})
{%- elif rule == "infinite" %}
isinf({{ column | identifier }})
{%- elif rule == "unpaired" %}
isnan({{ column | identifier }}) <> isnan({{ columns[1] | identifier }})
{%- elif rule == "negative_std" %}
{{ columns[1] | identifier }} < 0
{%- elif rule == "unexpected_nan" %}
isnan({{ column | identifier }}){% if refused_sizes %} AND NOT list_contains({{ refused_sizes | literal }}, [width, height]){% endif %}

{%- elif rule == "not_constant" %}
{% if refused_sizes %}
CASE WHEN list_contains({{ refused_sizes | literal }}, [width, height]) THEN NOT isnan({{ column | identifier }})
    ELSE {{ columns[1] | identifier }} <> 0 OR NOT list_contains({{ constants | literal }}, {{ column | identifier }}) END
{%- else %}
({{ columns[1] | identifier }} <> 0 OR NOT list_contains({{ constants | literal }}, {{ column | identifier }}))
{%- endif %}
{%- elif rule == "outside" %}
NOT isnan({{ column | identifier }}) AND {{ column | identifier }} NOT BETWEEN {{ lowest | literal }} AND {{ highest | literal }}
{%- elif rule == "too_small" %}
{{ column | identifier }} < {{ lowest | literal }}
{%- endif %}
