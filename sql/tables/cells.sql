{#- Rows that share a cell of a grid: its cells are as wide as `widths` says, and moved by `shift` of their width.
    NaN and NULL are cells of their own. #}
SELECT list(place) AS places
FROM fingerprints
GROUP BY
    {{ exact | identifier }}
    {% for column, width in widths.items() %}
    , floor({{ column | identifier }} / {{ width | literal }} + {{ shift | literal }})
    {% endfor %}
HAVING count(*) > 1
