{#- What makes a row offend against a rule; counted by columns.sql, shown by offending.sql.
    DuckDB takes NaN as greater than any number, and as equal to itself. #}
{% set column = columns[0] %}
{% set refused %}{% if refused_sizes %}(width, height) IN ({% for size in refused_sizes %}({{ size[0] | literal }}, {{ size[1] | literal }}){% if not loop.last %}, {% endif %}{% endfor %}){% else %}false{% endif %}{% endset %}
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
isnan({{ column | identifier }}) AND NOT {{ refused | raw }}
{%- elif rule == "not_constant" and constants %}
CASE WHEN {{ refused | raw }} THEN NOT isnan({{ column | identifier }})
    ELSE {{ column | identifier }} NOT IN ({% for value in constants %}{{ value | literal }}{% if not loop.last %}, {% endif %}{% endfor %}) OR {{ columns[1] | identifier }} <> 0 END
{%- elif rule == "not_constant" %}
NOT isnan({{ column | identifier }})
{%- elif rule == "outside" %}
NOT isnan({{ column | identifier }}) AND {{ column | identifier }} NOT BETWEEN {{ lowest | literal }} AND {{ highest | literal }}
{%- elif rule == "too_small" %}
{{ column | identifier }} < {{ lowest | literal }}
{%- endif %}
