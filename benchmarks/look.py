"""Views of a whole corpus: a query, and all checks with the report."""

from __future__ import annotations

import statistics
import sys
from functools import partial
from pathlib import Path

from benchmarks.measure import ROOT, Figure, Usage, run_measured, side_by_side
from benchmarks.synthetic import CORPUS_CLIPS, CORPUS_SLICES, make_run

REPETITIONS = 3


def measure(folder: Path) -> list[Figure]:
    """Measure both on the final table, each in its own process."""
    options = [
        word for setting in make_run(folder, CORPUS_CLIPS, CORPUS_SLICES) for word in ("--set", setting)
    ]
    _run("merge", "--set", "merge.checks=false", *options)
    found = side_by_side(
        {
            "a query": partial(_run, "sql", "SELECT avg(vmaf_mean) FROM features", *options),
            "all checks and the report": partial(_run, "report", *options),
        },
        REPETITIONS,
    )
    note = f"{REPETITIONS} repetitions in turns, start-up included"
    figures = []
    for name, usages in found.items():
        walls = [usage.wall for usage in usages]
        what = f"{name}, {CORPUS_CLIPS:,} rows"
        figures.append(Figure("look", what, statistics.median(walls), "s", "", {name: walls}, note))
        figures.append(Figure("look", f"{what}, peak", max(usage.peak for usage in usages), "MB"))
    return figures


def _run(*words: str) -> Usage:
    return run_measured(
        [sys.executable, "-m", "vmafarm", *words], environment={"PYTHONPATH": str(ROOT / "jobs")}
    )
