"""Workers against threads on one machine: what ``extract.workers = "auto"`` rests on."""

from __future__ import annotations

import os
import shutil
import statistics
from functools import partial
from pathlib import Path

from benchmarks.footage import make_corpus, plan_run, run_element
from benchmarks.measure import Figure, Usage, side_by_side

CLIPS = 12
REPETITIONS = 2


def measure(folder: Path) -> list[Figure]:
    """Identity plan, embedded engine; each way of using the processors against the automatic one."""
    make_corpus(folder, CLIPS)
    processors = len(os.sched_getaffinity(0))
    ways = [(processors, 1), (1, processors), (processors + 1, 1), (2 * processors, 1)]
    runs = 0

    def run(workers: int, threads: int) -> Usage:
        nonlocal runs
        runs += 1
        settings = plan_run(
            folder, f"r{runs}",
            ["engine.kind=ffmpeg", "engine.plan=identity", "engine.audit_every=0",
             f"extract.workers={workers}", f"engine.threads={threads}"],
        )  # fmt: skip
        usage = run_element(settings)
        shutil.rmtree(folder / "runs")
        return usage

    names = {f"{workers} workers of {threads} threads": (workers, threads) for workers, threads in ways}
    found = side_by_side({name: partial(run, *way) for name, way in names.items()}, REPETITIONS, False)
    walls = {name: [usage.wall for usage in usages] for name, usages in found.items()}
    automatic, *others = names
    base = statistics.median(walls[automatic])
    return [
        Figure(
            "workers", f"wall of {name} / {automatic} (auto)", statistics.median(walls[name]) / base, "x",
            samples={name: walls[name], automatic: walls[automatic]},
            note=f"on the CPU: {CLIPS} clips, identity plan",
        )
        for name in others
    ]  # fmt: skip
