{#- What DuckDB can tell of these files: their sizes, columns, or metadata, or that they exist. #}
{% if about == "size" %}
SELECT filename, size FROM read_blob({{ files | literal }}) ORDER BY filename;
{% elif about == "columns" %}
SELECT file_name, name, type, repetition_type FROM parquet_schema({{ files | literal }});
{% elif about == "metadata" %}
SELECT file_name, decode(key) AS key, decode(value) AS value FROM parquet_kv_metadata({{ files | literal }});
{% elif about == "lines" %}
SELECT filename, content FROM read_text({{ files | literal }});
{% else %}
SELECT file FROM glob({{ files | literal }});
{% endif %}
