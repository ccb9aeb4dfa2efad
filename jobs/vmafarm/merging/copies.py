"""Clips with several rows: equal ones collapse, others are conflicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from vmafarm.common.errors import show
from vmafarm.common.text import counted
from vmafarm.disk.arrow import make_table
from vmafarm.run_folder.paths import RunFolder
from vmafarm.schema.feature_set import KEY_COLUMNS, FeatureSet
from vmafarm.shards.footers import Finding, examples
from vmafarm.shards.recovery import Recovered, Scored, read_scored
from vmafarm.sql import templates as sql

TOLERANCE = 1e-6
"""Rows of one clip whose values differ by no more are the same row; scores and sizes never differ."""


@dataclass(frozen=True)
class Latest:
    """Which of several rows of a clip were finished last.

    Attributes
    ----------
    winners
        Clip name and shard or recovered file; several per clip if times are equal.
    undecided
        Clips whose times are missing or equal.
    """

    winners: list[tuple[str, str]]
    undecided: int


def choose_latest(copies: Mapping[str, list[str]], times: Mapping[tuple[str, str], datetime]) -> Latest:
    """Decide by time among the rows of clips that disagree.

    Parameters
    ----------
    copies
        Clip name to the files that hold its rows.
    times
        (Clip name, file) to the time in the clip log. If any file of a clip has none, time does not
        decide for that clip.
    """
    winners = []
    undecided = 0
    for name, files in copies.items():
        known = {file: times[name, file] for file in files if (name, file) in times}
        last = max(known.values(), default=None)
        best = [file for file in files if known.get(file) == last] if len(known) == len(set(files)) else []
        undecided += len(best) != 1
        winners += [(name, file) for file in best]
    return Latest(winners, undecided)


def _only_one_by_cpu(
    name: str, files: Sequence[str], scored: Mapping[tuple[str, str], Scored]
) -> tuple[str, str] | None:
    """The one copy of a clip that a CPU scored, where GPUs scored all others."""
    backends = {file: scored[name, file].backend if (name, file) in scored else "" for file in files}
    by_cpu = [file for file, backend in backends.items() if backend == "cpu"]
    return (name, by_cpu[0]) if len(by_cpu) == 1 and {*backends.values()} == {"cpu", "cuda"} else None


def settle_copies(
    connection: duckdb.DuckDBPyConnection,
    folder: RunFolder,
    recovered: Recovered,
    shards: sql.Sql,
    bound: Mapping[str, Any],
    features: FeatureSet,
    *,
    latest: bool,
) -> tuple[dict[str, int], list[dict[str, Any]], list[Finding]]:
    """Put one row of each clip that has several into the table ``chosen``.

    Parameters
    ----------
    connection
        Holds the table ``problems``.
    folder, recovered
        The run, and what its journals held; they say when a row was finished.
    shards, bound
        What to read, and the values bound in it.
    features
        The run's feature set.
    latest
        Take the latest row of a clip whose rows disagree; if false, that is an error.

    Returns
    -------
    counts : dict
        ``duplicate_rows``: rows beyond the first of clips whose rows are equal; ``conflicts``:
        clips whose rows disagree;
        ``not_repeatable``: clips whose rows disagree because the decoder concealed damage.
    conflicts : list of dict
        ``clip_name``, ``columns`` in which its rows disagree, and the ``files`` with them.
    findings : list of Finding
    """
    found = sql.one_row(
        connection, "SELECT coalesce(sum(copies - 1), 0)::BIGINT AS extra FROM problems WHERE repeated"
    )
    if not found["extra"]:
        return {}, [], []
    copies = sql.render("merge/copies", columns=features.columns, shards=shards)
    connection.execute(f"CREATE TEMP TABLE copies AS {copies}", bound)
    conflicting = sql.render("merge/conflicts", exact=KEY_COLUMNS[1:], tolerance=TOLERANCE)
    differing = connection.execute(conflicting).fetchall()
    pairs = [(name, file) for name, _, _, files in differing for file in files]
    scored = read_scored(folder, pairs, recovered)
    damaged = {name for (name, _), one in scored.items() if not one.repeatable}
    # Another decode explains other values; another score or size it does not.
    excused = [row for row in differing if row[0] in damaged and not set(row[2]) & set(KEY_COLUMNS)]
    # A GPU and a CPU differ in the last digits, and the CPU's values are the reference.
    winners = [
        copy for name, _, columns, files in differing
        if not set(columns) & set(KEY_COLUMNS) and (copy := _only_one_by_cpu(name, files, scored))
    ]  # fmt: skip
    settled = {name for name, _ in winners}
    excused = [row for row in excused if row[0] not in settled]
    conflicts = [row for row in differing if row not in excused and row[0] not in settled]
    undecided = 0
    if latest and conflicts:
        files = {name: files for name, _, _, files in conflicts}
        decided = choose_latest(files, {copy: one.at for copy, one in scored.items()})
        winners, undecided = winners + decided.winners, decided.undecided
    names, paths = [name for name, _ in winners], [path for _, path in winners]
    types = pa.schema({"clip_name": pa.string(), "filename": pa.string()})
    connection.register("latest", make_table([names, paths], types))
    chosen = sql.render("merge/chosen", columns=features.columns, floats=("mos", *features.feature_columns))
    connection.execute(f"CREATE TEMP TABLE chosen AS {chosen}")

    counts = {
        "duplicate_rows": found["extra"] - sum(row[1] - 1 for row in differing),
        "conflicts": len(conflicts),
        "not_repeatable": len(excused),
    }
    findings = []
    if counts["duplicate_rows"]:
        rows = counted(counts["duplicate_rows"], "row")
        message = f"{rows} of clips scored more than once, equal: one of each is taken"
        findings.append(Finding("duplicate", "info", message, counts["duplicate_rows"]))
    if settled:
        message = (
            f"{counted(len(settled), 'clip')} scored by a GPU and by the CPU: the row of the CPU is taken, "
            "whose values are the reference"
        )
        findings.append(Finding("scored_on_both", "info", message, len(settled)))
    if excused:
        which = examples(show(name) for name, *_ in excused)
        message = (
            f"{counted(len(excused), 'damaged clip')} with rows that differ, because each decode conceals "
            f"the damage in its own way: {which}. One row of each is taken, by its values; leave such a clip "
            "out where its exact values matter"
        )
        findings.append(Finding("not_repeatable", "warn", message, len(excused)))
    if conflicts:
        told = examples(f"{show(name)}: {examples(columns)}" for name, _, columns, _ in conflicts)
        message = (
            f"{counted(len(conflicts), 'clip')} with rows that differ by more than {TOLERANCE:g}: {told}. "
        ) + (
            f"Taken: the latest by the clip logs ({undecided:,} undecided by time, taken by value)"
            if latest
            else "Move the wrong writer's shards out of the shards folder, or merge with --on-conflict latest"
        )
        severity = "warn" if latest else "error"
        findings.append(Finding("conflict", severity, message, len(conflicts), "disagreeing_copies"))
    keys = ("clip_name", "copies", "columns", "files")
    return counts, [dict(zip(keys, row, strict=True)) for row in conflicts], findings
