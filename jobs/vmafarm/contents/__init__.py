"""What is in the clips' files, by their SHA-256: whether it is what was scored, and who has scored it before.

It protects rows from standing for a file that is no longer the same, and files from being scored twice. The
digests are in the clip logs (`vmafarm.shards.clip_log`).
"""
