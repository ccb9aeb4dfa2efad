"""The number of clips scored at once."""

from __future__ import annotations

from vmafarm.common.cpus import cpu_count


def worker_count(workers: str | int, threads: int) -> int:
    """Return the number of clips scored at once: as configured, or by the processors of this process."""
    if isinstance(workers, int):
        return workers
    return max(1, cpu_count() // threads)
