-- name: schema
-- severity: error
-- returns: offenders
-- expected: the columns of the table, in their order, each of its type
-- why: Loaders take columns by name or by place; both must hold.
SELECT
    coalesce(wanted.position, found.position) AS position,
    wanted.name AS expected_name,
    wanted.type AS expected_type,
    found.name AS found_name,
    found.type AS found_type
FROM columns AS wanted
FULL JOIN (
    SELECT cid + 1 AS position, name, type
    FROM pragma_table_info('features')
) AS found ON wanted.position = found.position
WHERE wanted.name IS DISTINCT FROM found.name OR wanted.type IS DISTINCT FROM found.type
ORDER BY 1
