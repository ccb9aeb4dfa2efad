"""Child processes: starting, limiting and ending them, and their scratch folders."""
