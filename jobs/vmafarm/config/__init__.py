"""The configuration: its keys, how it is read, and what follows from it."""
