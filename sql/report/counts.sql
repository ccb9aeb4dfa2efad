-- How many clips are planned, scored, failed for good and missing.
SELECT planned AS clips, scored, set_aside AS failed, planned - scored - set_aside AS missing
FROM (
    SELECT
        (SELECT count(*) FROM manifest) AS planned,
        (SELECT count(DISTINCT clip_name) FROM features SEMI JOIN manifest USING (clip_name)) AS scored,
        (SELECT count(*) FROM failed ANTI JOIN features USING (clip_name)) AS set_aside
)
