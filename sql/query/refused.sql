{#- Clips and columns whose extractor does not take frames of that size: NaN is right there. #}
CREATE VIEW refused AS
SELECT features.clip_name, columns.name
FROM features
JOIN columns ON least(width, height) < shorter_side OR greatest(width, height) < longer_side
