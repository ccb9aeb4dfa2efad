-- name: geometry
-- severity: info
-- returns: figures
-- expected: the sizes that the corpus is known to have
-- why: Features depend on size; a size of few clips is worth a look.
SELECT
    width,
    height,
    CASE WHEN width > height THEN 'landscape' WHEN width < height THEN 'portrait' ELSE 'square' END AS shape,
    count(*) AS clips,
    min(clip_name) AS first_clip
FROM features
GROUP BY width, height
ORDER BY clips DESC, width, height
