"""Files that survive a power loss, and files of strangers: opened, written, sealed and locked."""
