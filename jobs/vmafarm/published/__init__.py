"""The published table: whether it is still what its record says, and how it is put in place."""
