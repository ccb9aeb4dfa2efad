"""The processors that this process may use."""

from __future__ import annotations

import os


def cpu_count() -> int:
    """Processors of this process, at least 1: by its affinity, and by what SLURM gave its task.

    Where SLURM binds no tasks (``TaskPlugin=task/none``), the affinity covers the whole node.
    """
    found = len(os.sched_getaffinity(0))
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return max(1, min(found, int(given))) if given.isascii() and given.isdigit() else found
