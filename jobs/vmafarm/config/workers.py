"""How many clips are scored at once."""

from __future__ import annotations

import os


def worker_count(workers: str | int, threads: int) -> int:
    """Clips at once: as configured, or as many as this process has processors for."""
    if isinstance(workers, int):
        return workers
    return max(1, len(os.sched_getaffinity(0)) // threads)
