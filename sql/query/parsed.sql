{#- A query as the tree that DuckDB makes of it, in JSON; nothing is bound. #}
SELECT json_serialize_sql($query) AS tree
