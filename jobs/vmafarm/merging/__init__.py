"""The merge: all shards of a run to one validated table, or the reasons why not."""
