{#- Clips and columns whose extractor does not accept frames of that size, so that NaN is correct. #}
CREATE VIEW refused AS
SELECT features.clip_name, columns.name
FROM features
JOIN columns ON {{ refuses }}
