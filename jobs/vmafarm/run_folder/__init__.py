"""What a run keeps on disk beside its rows."""
