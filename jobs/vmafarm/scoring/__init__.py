"""A clip goes in, a row comes out."""
