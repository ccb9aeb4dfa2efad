{#- Rows that hold a NULL, an infinite value, a negative standard deviation, a number where NaN is expected or
    the reverse, a value other than the known one, or a tiny frame. Checks of single values read only these few
    rows: one scan finds them, without unpivoting the whole table. #}
CREATE {{ kind }} suspects AS
SELECT *
FROM features
WHERE clip_name IS NULL OR mos IS NULL OR width IS NULL OR height IS NULL OR least(width, height) < {{ min_side | literal }}
{%- for feature in features %}
{% if feature.all_nan %}
{% for column in feature.columns %}

    OR isnan({{ column | identifier }}) IS NOT TRUE
{%- endfor %}
{%- elif feature.refuses %}

    OR ({% for column in feature.columns %}isfinite({{ column | identifier }}){% if not loop.last %} AND {% endif %}{% endfor %} OR {% for column in feature.columns %}isnan({{ column | identifier }}){% if not loop.last %} AND {% endif %}{% endfor %}) IS NOT TRUE
    OR isnan({{ feature.columns[0] | identifier }}) <> {{ feature.refuses }}
{%- else %}
{% for column in feature.columns %}

    OR isfinite({{ column | identifier }}) IS NOT TRUE
{%- endfor %}
{%- endif %}
{%- if feature.std and not feature.all_nan %}
 OR {{ feature.std | identifier }} < 0
{%- endif %}
{%- if feature.constants %}
{% for level in feature.levels %}

    OR NOT isnan({{ level | identifier }}) AND {% for constant in feature.constants %}{{ level | identifier }} <> {{ constant | literal }}{% if not loop.last %} AND {% endif %}{% endfor %}
{%- endfor %}
{%- if feature.std %}

    OR NOT isnan({{ feature.std | identifier }}) AND {{ feature.std | identifier }} <> 0
{%- endif %}
{%- endif %}
{%- endfor %}

