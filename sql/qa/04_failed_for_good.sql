-- name: failed_for_good
-- severity: warn
-- returns: offenders
-- expected: no clip that can never be scored
-- why: Such clips are set aside after a few tries; a broken download shows here.
SELECT clip_name, failure, tries, message
FROM failed
ANTI JOIN features USING (clip_name)
ORDER BY failure, clip_name
