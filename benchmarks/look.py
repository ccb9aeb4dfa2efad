"""Views of a whole corpus: queries, checks with the report, status and progress, beside doing it by hand."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.measure import ROOT, Figure, Usage, run_measured, side_by_side
from benchmarks.synthetic import CORPUS_CLIPS, CORPUS_SLICES, make_run

REPETITIONS = 3

_QUERY = "SELECT avg(vmaf_mean) FROM features"

_DUCKDB = """
import sys, duckdb
print(duckdb.sql(f"SELECT avg(vmaf_mean) FROM read_parquet('{sys.argv[1]}', can_have_nan = true)"))
"""
_PANDAS = """
import sys, pandas
print(pandas.read_parquet(sys.argv[1], columns=["vmaf_mean"]).mean())
"""
_SUMMARY = """
import sys, pandas
print(pandas.read_parquet(sys.argv[1]).describe())
"""
_LOOKS = 20
_PROGRESS = """
import sys
from pathlib import Path
from vmafarm.run_folder.paths import RunFolder
from vmafarm.scoring.progress import ProgressReporter
class Display:
    def update(self, finished, rest): pass
look = ProgressReporter(RunFolder(Path(sys.argv[1]), "synthetic"), 1, Display())
for _ in range(int(sys.argv[2])):
    look()
"""


def measure(folder: Path) -> list[Figure]:
    """Measure each in its own process; wall and CPU, start-up included."""
    done = _options(make_run(folder / "done", CORPUS_CLIPS, CORPUS_SLICES))
    going = _options(make_run(folder / "going", CORPUS_CLIPS, CORPUS_SLICES))
    _run("merge", *done)
    table = folder / "done" / "runs" / "full_features_synthetic.parquet"
    runs = folder / "going" / "runs"
    shards = runs / "synthetic" / "shards"
    database = folder / "done" / "runs" / "synthetic" / "qa.duckdb"
    return [
        *_compare("a query of a published run", "<= 0.5", {
            "": partial(_run, "sql", _QUERY, *done),
            "DuckDB on the table": partial(_python, _DUCKDB, table),
            "pandas on the table": partial(_python, _PANDAS, table),
        }),
        *_compare("a query of a run that is going on", "<= 2", {
            "": partial(_run, "sql", _QUERY, *going),
            "DuckDB on all shards": partial(_python, _DUCKDB, f"{shards}/*/*.parquet"),
        }),
        *_compare("all checks and the report", "<= 6", {
            "": partial(_run, "report", *done),
            "copied first": partial(_without, database, "report", *done),
            "pandas, describe()": partial(_python, _SUMMARY, table),
        }, "<= 600"),
        *_compare("vmafarm status", "<= 0.7", {
            "": partial(_run, "status", *going),
            "find | xargs cat | wc": partial(run_measured, [
                "sh", "-c", 'find "$0" -name "*.done" | xargs cat | wc -l', str(shards),
            ]),
        }),
        *_progress(runs),
    ]  # fmt: skip


def _options(settings: Sequence[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def _compare(
    what: str, target: str, candidates: Mapping[str, Callable[[], Usage]], most: str = ""
) -> list[Figure]:
    """Wall and CPU of each; the target is that of the first one's wall, `most` that of its peak."""
    found = side_by_side(candidates, REPETITIONS)
    note = f"{CORPUS_CLIPS:,} clips in {CORPUS_SLICES:,} slices, {REPETITIONS} repetitions in turns"
    figures = []
    for name, usages in found.items():
        title = f"{what}: {name}" if name else what
        walls, cpus = [one.wall for one in usages], [one.cpu for one in usages]
        wall, own = statistics.median(walls), not name
        figures.append(Figure("look", title, wall, "s", target * own, {title: walls}, note))
        figures.append(Figure("look", f"{title}, CPU", statistics.median(cpus), "s", "", {title: cpus}))
        peak = max(one.peak for one in usages)
        figures.append(Figure("look", f"{title}, peak", peak, "MB", most * own))
    return figures


def _progress(runs: Path) -> list[Figure]:
    """CPU of one look at the progress; what watching may take does not depend on it, see `sparing`."""
    found = side_by_side(
        {str(looks): partial(_python, _PROGRESS, runs, str(looks)) for looks in (0, _LOOKS)}, REPETITIONS
    )
    none, some = (statistics.median(one.cpu for one in found[str(looks)]) for looks in (0, _LOOKS))
    name = f"CPU of one look at the progress, {CORPUS_SLICES:,} slices; 1% of the time at most"
    return [Figure("look", name, (some - none) / _LOOKS * 1000, "ms")]


def _without(database: Path, *words: str) -> Usage:
    database.unlink(missing_ok=True)
    return _run(*words)


def _run(*words: str) -> Usage:
    return run_measured(
        [sys.executable, "-m", "vmafarm", *words], environment={"PYTHONPATH": str(ROOT / "jobs")}
    )


def _python(program: str, *words: str | Path) -> Usage:
    return run_measured(
        [sys.executable, "-c", program, *words], environment={"PYTHONPATH": str(ROOT / "jobs")}
    )
