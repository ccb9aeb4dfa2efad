"""From a clone to a table: what `make setup` and `make run` take, by pip and, where it is there, by uv."""

from __future__ import annotations

import os
import shutil
import statistics
from functools import partial
from pathlib import Path

from benchmarks.measure import ROOT, Figure, Usage, ratio, run_measured, side_by_side

REPETITIONS = 2


def measure(folder: Path) -> list[Figure]:
    """Clone the commit that is checked out, and set it up; what was downloaded before stays in caches."""
    installers = {"pip": ""} | ({"uv": found} if (found := shutil.which("uv")) else {})
    candidates = {name: partial(_set_up, folder / name, uv) for name, uv in installers.items()}
    walls = {
        name: [usage.wall for usage in usages]
        for name, usages in side_by_side(candidates, REPETITIONS).items()
    }
    table = _make("run", folder / "pip", "")
    figures = [
        Figure("set-up", f"make setup, by {name}", statistics.median(taken), "s", samples={name: taken})
        for name, taken in walls.items()
    ]
    if "uv" in walls:
        figures.append(
            Figure("set-up", "by uv / by pip", ratio(walls["uv"], walls["pip"]), "x", "<= 0.5", walls)
        )
    return [
        *figures,
        Figure("set-up", "make run on the demo corpus after that", table.wall, "s"),
        Figure("set-up", "size of .venv", _megabytes(folder / "pip" / ".venv"), "MB"),
    ]


def _set_up(place: Path, uv: str) -> Usage:
    shutil.rmtree(place, ignore_errors=True)
    run_measured(["git", "clone", "--quiet", ROOT, place])
    return _make("setup", place, uv)


def _make(target: str, place: Path, uv: str) -> Usage:
    return run_measured(["make", "--no-print-directory", f"UV={uv}", target], cwd=place)


def _megabytes(folder: Path) -> float:
    return sum(os.lstat(path).st_blocks * 512 for path in folder.rglob("*")) / 1e6
