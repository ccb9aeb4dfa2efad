{#- The rows of the combined table in the order of their keys, in bytes. The table ranges has, for each corpus
    whose scores are mapped, the range that becomes that of the scale. #}
SELECT
    clip_name,
    corpus,
{% if scale %}
    CASE
        WHEN lowest IS NULL OR NOT isfinite(mos) THEN mos
        ELSE {{ scale[0] | literal }} + (mos - lowest) / (highest - lowest) * ({{ scale[1] | literal }} - {{ scale[0] | literal }})
    END AS mos,
    mos AS mos_native,
{% else %}
    mos,
{% endif %}
    {{ columns | identifier }}
FROM stacked
ANTI JOIN dropped USING (source, clip_name)
{% if scale %}
LEFT JOIN ranges USING (corpus)
{% endif %}
ORDER BY corpus, clip_name
