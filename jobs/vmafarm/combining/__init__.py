"""Combines published tables: of several corpora under each other, or of the same clips side by side."""
