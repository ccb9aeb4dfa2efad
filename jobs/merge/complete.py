"""Completeness: which clips have no row, and which of them never will."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from jobs import sql
from jobs.arrow import make_table
from jobs.errors import show
from jobs.failures import CLIP_FAULTS, FailureRecord
from jobs.merge.inputs import SHOWN, Finding
from jobs.run_folder import RunFolder


@dataclass(frozen=True)
class Gaps:
    """Clips of the manifest that have no row.

    Attributes
    ----------
    clips
        Clips in the manifest.
    missing
        Clips without a row that have not failed for good: the work that is left.
    first
        Names of the first of them.
    tried
        Last failure of those among them that were tried.
    failed
        Clips without a row that have failed for good, with their last fault.
    """

    clips: int
    missing: int
    first: tuple[str, ...]
    tried: Mapping[str, FailureRecord]
    failed: Mapping[str, FailureRecord]

    @property
    def failed_share(self) -> float:
        """Share of the manifest's clips that have failed for good."""
        return len(self.failed) / self.clips


def find_gaps(
    connection: duckdb.DuckDBPyConnection,
    clips: int,
    records: Iterable[FailureRecord],
    set_aside: Mapping[str, FailureRecord],
) -> Gaps:
    """Split the clips without a row into those to do and those that have failed for good.

    Parameters
    ----------
    connection
        Holds the table ``problems``.
    clips
        Clips in the manifest.
    records
        All failures, ordered by time.
    set_aside
        Clips that have failed for good, whether or not another try has made a row of them since.
    """
    last = {record.clip_name: record for record in records}
    register_names(connection, "tried", last)
    without_row = {
        name
        for (name,) in connection.execute(
            "SELECT clip_name FROM problems SEMI JOIN tried USING (clip_name) WHERE missing"
        ).fetchall()
    }
    failed = {name: record for name, record in set_aside.items() if name in without_row}
    register_names(connection, "failed", failed)
    first = connection.execute(
        "SELECT clip_name, count(*) OVER () FROM problems ANTI JOIN failed USING (clip_name) "
        "WHERE missing ORDER BY clip_name LIMIT $shown",
        {"shown": SHOWN},
    ).fetchall()
    tried = {name: last[name] for name in sorted(without_row - failed.keys())}
    return Gaps(clips, first[0][1] if first else 0, tuple(name for name, _ in first), tried, failed)


def register_names(connection: duckdb.DuckDBPyConnection, table: str, names: Iterable[str]) -> None:
    """Show DuckDB names as a table with the column clip_name."""
    connection.register(table, make_table([list(names)], pa.schema([("clip_name", pa.string())])))


def judge_gaps(
    gaps: Gaps, folder: RunFolder, missing_query: str, *, max_failed_share: float, allow_missing: bool
) -> list[Finding]:
    """Decide what the gaps mean.

    Parameters
    ----------
    gaps
        Clips without a row.
    folder
        The run.
    missing_query
        Shows the clips without a row.
    max_failed_share
        Share of the clips that may have failed for good, 0..1.
    allow_missing
        Publish with gaps.
    """
    findings = []
    gravity = "warn" if allow_missing else "error"
    if gaps.missing:
        names = ", ".join(map(show, gaps.first)) + (", ..." if gaps.missing > len(gaps.first) else "")
        failures = f"; failed so far: {by_class(gaps.tried)}" if gaps.tried else "; none of them has failed"
        remedy = (
            "published without them"
            if allow_missing
            else "run the extraction again, or merge with --allow-missing to publish without them"
        )
        message = f"{gaps.missing:,} of {gaps.clips:,} clips are missing: {names}{failures}. To do: {remedy}"
        findings.append(Finding("missing", gravity, message, gaps.missing, missing_query))
    if gaps.failed:
        above = gaps.failed_share > max_failed_share
        message = (
            f"{len(gaps.failed):,} of {gaps.clips:,} clips ({gaps.failed_share:.3%}) have failed for good, "
            f"{'more than' if above else 'within'} merge.max_failed_share = {max_failed_share:.3%}: "
            f"{by_class(gaps.failed)}"
        )
        if above and not allow_missing:
            message += ". Replace or leave out these clips, or allow more with --max-failed-share"
        query = sql.render(
            "merge/failures", files=sql.below(folder.failures, "*.jsonl"), classes=list(CLIP_FAULTS)
        )
        findings.append(
            Finding("failed_for_good", gravity if above else "warn", message, len(gaps.failed), query)
        )
    return findings


def count_classes(records: Mapping[str, FailureRecord]) -> dict[str, int]:
    """How many clips have which failure as their last, most frequent first."""
    classes: dict[str, int] = defaultdict(int)
    for record in records.values():
        classes[record.failure] += 1
    return dict(sorted(classes.items(), key=lambda item: (-item[1], item[0])))


def by_class(records: Mapping[str, FailureRecord]) -> str:
    """Classes with their counts and last messages, in words."""
    last = {record.failure: record for record in sorted(records.values(), key=lambda r: r.at)}
    return ", ".join(
        f"{name} {count:,} (last: {show(last[name].clip_name)}: {show(last[name].message)})"
        for name, count in count_classes(records).items()
    )
