-- name: failures
-- severity: info
-- returns: figures
-- expected: no failures, or tries that a later one made good
-- why: Classes of failures are in docs/errors.md.
SELECT
    failure,
    count(*) AS tries,
    count(DISTINCT failures.clip_name) AS clips,
    count(DISTINCT features.clip_name) AS clips_done_since,
    count(DISTINCT host) AS hosts,
    any_value(message ORDER BY "at" DESC, message) AS last_message
FROM failures
LEFT JOIN features USING (clip_name)
GROUP BY failure
ORDER BY tries DESC, failure
