"""SQL templates, and DuckDB connections that stay within bounds."""
