"""Other programs: how they are started, bounded and ended, and where they work."""
