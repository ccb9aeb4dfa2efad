-- name: origin
-- severity: info
-- returns: figures
-- expected: one engine, and rows from every machine that took part
-- why: It helps to find a machine whose rows stand out.
SELECT
    engine,
    (SELECT value FROM run WHERE key = 'libvmaf_version') AS libvmaf,
    (SELECT value FROM run WHERE key = 'plan') AS plan,
    host,
    count(DISTINCT writer) AS writers,
    count(*) AS clips,
    round(sum(seconds_decoding + seconds_scoring), 1) AS seconds
FROM clips
SEMI JOIN features USING (clip_name)
GROUP BY engine, host
ORDER BY clips DESC, host
