"""All runs of a folder at a glance: clips, rows, table and last activity of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from vmafarm.common.errors import VmafarmError, explain, show
from vmafarm.common.layout import wrapped
from vmafarm.common.say import text_width
from vmafarm.common.text import format_seconds
from vmafarm.config.sections import Config
from vmafarm.corpus.frozen_config import DIGEST, read_frozen_config, with_frozen
from vmafarm.corpus.named_run import with_name
from vmafarm.published.merge_record import read_merge_record
from vmafarm.published.up_to_date import digest_inputs, read_errors, read_tidied
from vmafarm.run_folder.known_runs import KnownRun, known_runs
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.shards.completeness import read_states

TableState = Literal["published", "out_of_date", "none", "unknown"]
_FIGURES = 50
"""Columns beside the name of a run."""


@dataclass(frozen=True)
class RunSummary:
    """A run at a glance.

    Attributes
    ----------
    name
        Its name.
    active_at
        Its last activity; see `vmafarm.run_folder.known_runs.KnownRun`.
    clips, done, failed_for_good
        Clips of its plan, those with a row, and those that have failed for good; None: not known.
    table
        ``published``; ``out_of_date``: clips were scored since, or the record does not say from what it was
        made; ``none``; ``unknown``: the run cannot be read.
    finished
        No clip is missing, the table is published with all that belongs to it, and its checks found no
        errors.
    problem
        Why the run cannot be read; empty: it can.
    """

    name: str
    active_at: datetime
    clips: int | None = None
    done: int | None = None
    failed_for_good: int | None = None
    table: TableState = "unknown"
    finished: bool = False
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return its part of the JSON document."""
        return {
            "run": self.name, "clips": self.clips, "done": self.done,
            "failed_for_good": self.failed_for_good, "table": self.table, "finished": self.finished,
            "active_at": self.active_at.isoformat(timespec="seconds"), "problem": self.problem,
        }  # fmt: skip


def read_runs(config: Config, found: Sequence[KnownRun] | None = None) -> list[RunSummary]:
    """Summarise the runs of a folder.

    Parameters
    ----------
    config
        The configuration; ``run.root`` names the folder.
    found
        The runs; None: all that are planned there.

    Returns
    -------
    list of RunSummary
        In the order of `found`, by default the most recently active first.

    Raises
    ------
    OSError
        The folder cannot be read.
    """
    runs = known_runs(Path(config.run.root)) if found is None else found
    return [_read_run(config, run) for run in runs]


def _read_run(config: Config, run: KnownRun) -> RunSummary:
    name = run.folder.name
    try:
        return _summarise(with_frozen(with_name(config, name)), run)
    except (VmafarmError, OSError) as error:
        return RunSummary(name, run.active_at, problem=show(explain(error).message.partition("\n")[0]))


def _summarise(config: Config, run: KnownRun) -> RunSummary:
    folder = config.folder
    has_table = folder.table.exists()
    try:
        record = read_merge_record(folder.merge_record) if has_table else {}
        errors = read_errors(folder) if has_table else {}
    except VmafarmError:  # not the record of a merge: from what the table was made is not known
        record, errors = {}, {}
    metadata = record.get("metadata")
    of_plan = isinstance(metadata, dict) and metadata.get("manifest") == read_frozen_config(folder)[DIGEST]
    counts = record.get("counts", {}) if record.get("published") and of_plan else {}
    clips, rows, failed = (counts.get(key, 0) for key in ("clips", "rows", "failed_for_good"))
    # A later plan has the digest of the one before if a file was exchanged for one of the same size: then it
    # is the files of the run that say of what the table was made.
    is_newest = folder.is_planned_once() or (
        bool(counts) and record["inputs_sha256"] == digest_inputs(folder, read_tidied(record))
    )
    if clips and rows + failed == clips and is_newest:
        # Rows are never lost and a plan is final, so nothing more can come: no shard needs to be read.
        finished = bool(record.get("delivered")) and not errors
        return RunSummary(folder.name, run.active_at, clips, rows, failed, "published", finished)
    manifest = load_manifest(folder)
    gaps = read_states(folder, config, manifest).gaps
    clips, failed = len(manifest.names), len(gaps.failed)
    done = clips - len(gaps.missing) - failed
    table: TableState = "none"
    if has_table:
        table = "published" if counts and done <= rows and is_newest else "out_of_date"
    return RunSummary(folder.name, run.active_at, clips, done, failed, table)


def as_document(root: str, runs: Sequence[RunSummary]) -> dict[str, Any]:
    """What ``vmafarm runs --json`` prints."""
    return {"version": 1, "root": root, "runs": [run.as_dict() for run in runs]}


def lines(runs: Sequence[RunSummary], now: datetime | None = None, width: int | None = None) -> list[str]:
    """Runs as a table that fits a terminal of 60 columns.

    Parameters
    ----------
    runs
        Any number.
    now
        From when on the last activity is told; None: now.
    width
        Columns; None: those of the terminal.
    """
    now = datetime.now(UTC) if now is None else now
    width = text_width() if width is None else width
    longest = max((len(run.name) for run in runs), default=0)
    room = max(3, min(longest, width - _FIGURES))
    shown = [f"{'run':<{room}}{'clips':>9}{'done':>9}{'failed':>7} {'table':<11} active"]
    for run in runs:
        begins = f"{run.name:<{room}}"
        if len(run.name) > room:
            shown.append(run.name)
            begins = " " * room
        figures = (run.clips, run.done, run.failed_for_good)
        clips, done, failed = ("?" if number is None else f"{number:,}" for number in figures)
        age = f"{format_seconds(max(0.0, (now - run.active_at).total_seconds()))} ago"
        shown.append(f"{begins}{clips:>9}{done:>9}{failed:>7} {run.table.replace('_', ' '):<11} {age}")
        shown += wrapped(run.problem, "    ", width=width, strict=True) if run.problem else []
    return shown
