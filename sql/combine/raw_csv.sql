{#- All fields of a CSV file as text, without its header; nothing is guessed. #}
CREATE OR REPLACE TABLE raw AS
SELECT *
FROM read_csv(
    {{ file | literal }}, header = true, auto_detect = false, delim = ',', quote = '"', escape = '"',
    columns = { {%- for column in columns %}{{ column | literal }}: 'VARCHAR'{% if not loop.last %}, {% endif %}{% endfor -%} }
)
