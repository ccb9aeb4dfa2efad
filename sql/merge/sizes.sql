{#- The frame sizes that occur. #}
SELECT DISTINCT width, height
FROM {{ rows }}
WHERE width IS NOT NULL AND height IS NOT NULL
ORDER BY width, height
