{#- Clips and columns whose extractor refuses frames of that size: NaN is right there. #}
CREATE VIEW refused AS
SELECT features.clip_name, columns.name
FROM features
JOIN columns ON {{ refuses }}
