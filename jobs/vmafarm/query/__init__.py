"""A run as a database: queries, checks, and how they answer."""
