{#- Clips with faults of their own, with the last one of each. #}
SELECT
    clip_name,
    count(*) AS tries,
    count(DISTINCT host) AS hosts,
    arg_max(failure, "at") AS last_failure,
    arg_max(message, "at") AS last_message
FROM read_json({{ files | literal }}, format = 'newline_delimited', ignore_errors = true)
WHERE list_contains({{ classes | literal }}, failure)
GROUP BY clip_name
ORDER BY clip_name;
