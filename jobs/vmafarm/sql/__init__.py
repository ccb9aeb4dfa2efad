"""SQL templates, and DuckDB connections within limits."""
