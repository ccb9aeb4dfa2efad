{#- Clips and columns whose extractor does not accept frames of that size, so that NaN is correct. NULL: no
    limit. #}
CREATE VIEW refused AS
SELECT features.clip_name, columns.name
FROM features
JOIN columns
    ON least(width, height) < shorter_side
    OR greatest(width, height) < longer_side
    OR width + height > both_sides
    OR greatest(width, height) > aspect * least(width, height) + slack
    OR (even_height AND height % 2 = 1)
