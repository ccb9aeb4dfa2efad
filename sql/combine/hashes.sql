{#- The SHA-256 of the clips of one table, from rows that are registered as `logged`. A clip that was scored
    twice with different content has none: nobody knows which of its rows is in the table. #}
INSERT INTO hashes
SELECT {{ source | literal }}, clip_name, min(sha256)
FROM logged
WHERE sha256 <> ''
GROUP BY clip_name
HAVING count(DISTINCT sha256) = 1
