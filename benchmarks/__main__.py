"""All benchmarks, or those named: python -m benchmarks [--out FOLDER] [NAME ...]."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.measure import Figure, as_json, as_markdown, describe_machine, measure_one, say

NAMES = (
    "set_up",
    "overhead",
    "plans",
    "sets",
    "workers",
    "scratch",
    "startup",
    "element_start",
    "merge",
    "frames",
    "gaps",
    "look",
    "own_cost",
    "memory",
    "plan",
    "simulate",
)
"""Modules here with a function ``measure(folder) -> list[Figure]``, in the order of the table."""


def main() -> int:
    """Measure; the table goes to stdout, and with --out as bench.md and bench.json into a folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; none: all")
    parser.add_argument("--out", type=Path, help="folder for bench.md and bench.json")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(NAMES):
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(NAMES)}")
    machine = describe_machine()
    figures: list[Figure] = []
    for name in chosen.names or NAMES:
        started = time.monotonic()
        say(f"{name} ...")
        # Each in a process of its own: what it starts is taken to have had the memory that it has had.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            figures += pool.submit(measure_one, name).result()
        say(f"{name}: {time.monotonic() - started:.0f} s")
        if chosen.out:  # after each, so that a long run that is ended leaves what it has
            chosen.out.mkdir(parents=True, exist_ok=True)
            (chosen.out / "bench.md").write_text(as_markdown(figures, machine))
            (chosen.out / "bench.json").write_text(as_json(figures, machine))
    sys.stdout.write(as_markdown(figures, machine))
    return int(any(figure.met is False for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
