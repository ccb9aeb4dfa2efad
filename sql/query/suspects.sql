{#- Rows that hold a NULL, an infinite value, a negative standard deviation, a number where NaN is expected or
    the reverse, a value other than the known one, or a tiny frame. Checks of single values read only these few
    rows: one scan finds them, without unpivoting the whole table. #}
CREATE {{ kind }} suspects AS
SELECT *
FROM features
WHERE clip_name IS NULL OR mos IS NULL OR width IS NULL OR height IS NULL OR least(width, height) < {{ min_side | literal }}
{%- for feature in features %}
{% set mean, std = feature.mean | identifier, feature.std | identifier %}
{% if feature.all_nan %}

    OR isnan({{ mean }}) IS NOT TRUE OR isnan({{ std }}) IS NOT TRUE
{%- elif feature.refuses %}

    OR (isfinite({{ mean }}) AND isfinite({{ std }}) OR isnan({{ mean }}) AND isnan({{ std }})) IS NOT TRUE
    OR isnan({{ mean }}) <> {{ feature.refuses }} OR {{ std }} < 0
{%- else %}

    OR isfinite({{ mean }}) IS NOT TRUE OR isfinite({{ std }}) IS NOT TRUE OR {{ std }} < 0
{%- endif %}
{%- if feature.constants %}

    OR NOT isnan({{ mean }}) AND ({{ std }} <> 0 OR {% for constant in feature.constants %}{{ mean }} <> {{ constant | literal }}{% if not loop.last %} AND {% endif %}{% endfor %})
{%- endif %}
{%- endfor %}

