"""The configuration: its keys, where it is read from, and what follows from it."""
