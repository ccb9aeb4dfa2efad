"""The merge with all its checks, against what a user would write: DuckDB's COPY, and pandas."""

from __future__ import annotations

import shutil
import statistics
import sys
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import ROOT, Figure, Usage, ratio, run_measured, say, side_by_side
from benchmarks.synthetic import CORPUS_CLIPS, CORPUS_SLICES, make_run

REPETITIONS = 5
LARGE = ((1_000_000, 1_000), (3_000_000, 3_000), (10_000_000, 10_000))
"""Rows and shards."""

_MERGE = """
import sys
from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.merging.merge import merge
config = with_frozen(load(None, sys.argv[1:])[0])
config.folder.table.unlink(missing_ok=True)
assert merge(config.folder, config).published
"""
_COPY = """
import sys, duckdb
from pathlib import Path
files = sorted(map(str, Path(sys.argv[1]).glob("runs/*/shards/*/*.parquet")))
rows = "SELECT DISTINCT ON (clip_name) * FROM read_parquet($1) ORDER BY clip_name"
copy = "COPY (" + rows + ") TO '" + sys.argv[1] + "/copy.parquet' (FORMAT parquet)"
duckdb.connect().execute(copy, [files])
"""
_PANDAS = """
import sys, pandas
from pathlib import Path
files = sorted(Path(sys.argv[1]).glob("runs/*/shards/*/*.parquet"))
table = pandas.concat([pandas.read_parquet(file) for file in files]).drop_duplicates()
table.to_parquet(Path(sys.argv[1]) / "pandas.parquet")
"""


def measure(folder: Path) -> list[Figure]:
    """The corpus in two cuts, then more and more rows."""
    figures = []
    for slices in (1_000, CORPUS_SLICES):
        place = folder / str(slices)
        settings = make_run(place, CORPUS_CLIPS, slices)
        found = side_by_side(
            {
                "merge": partial(_run, _MERGE, *settings),
                "copy": partial(_run, _COPY, place),
                "pandas": partial(_run, _PANDAS, place),
            },
            REPETITIONS,
        )
        shutil.rmtree(place)
        walls = {name: [usage.wall for usage in usages] for name, usages in found.items()}
        what = f"{CORPUS_CLIPS:,} rows in {slices:,} shards"
        note = f"{REPETITIONS} repetitions in turns, start-up included"
        figures += [
            Figure("merge", f"merge / COPY of distinct sorted rows by DuckDB, {what}",
                   ratio(walls["merge"], walls["copy"]), "x", "<= 1.3", walls, note),
            Figure("merge", f"pandas / merge, {what}", ratio(walls["pandas"], walls["merge"]), "x", "",
                   walls, "concat + drop_duplicates + to_parquet, which checks nothing"),
            Figure("merge", f"merge, {what}", statistics.median(walls["merge"]), "s"),
        ]  # fmt: skip
    return figures + _grow(folder)


def _grow(folder: Path) -> list[Figure]:
    taken: dict[int, Usage] = {}
    for rows, shards in LARGE:
        place = folder / str(rows)
        settings = make_run(place, rows, shards)
        say(f"  made {rows:,} rows")
        taken[rows] = _run(_MERGE, *settings)
        shutil.rmtree(place)
    counts = np.array(list(taken), float)
    walls = np.array([usage.wall for usage in taken.values()])
    exponent = float(np.polyfit(np.log(counts), np.log(walls), 1)[0])
    rows, shards = LARGE[-1]
    samples = {f"{rows:,} rows": [usage.wall, usage.peak] for rows, usage in taken.items()}
    return [
        Figure("merge", f"peak memory, {rows:,} rows in {shards:,} shards", taken[rows].peak, "MB", "<= 2000",
               note="resident, whole process; merge.memory at its default"),
        Figure("merge", f"merge, {rows:,} rows in {shards:,} shards", taken[rows].wall, "s"),
        Figure("merge", "exponent k of time ~ rows^k", exponent, "", "<= 1.1", samples,
               f"fit over {', '.join(f'{count:,}' for count, _ in LARGE)} rows"),
    ]  # fmt: skip


def _run(script: str, *words: str | Path) -> Usage:
    return run_measured(
        [sys.executable, "-c", script, *words], environment={"PYTHONPATH": str(ROOT / "jobs")}
    )
