"""The published table: whether it still matches its record, and how it is put in place."""
