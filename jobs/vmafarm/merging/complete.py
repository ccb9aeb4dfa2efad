"""Completeness: what clips without a row mean for a merge."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice

import duckdb

from vmafarm.common.errors import show
from vmafarm.run_folder.failures import CLIP_FAULTS, ENGINE_FAULTS, FailureRecord
from vmafarm.shards.completeness import FailedClip, Gaps, failures_allowed
from vmafarm.shards.footers import SHOWN, Finding

LISTED = 1_000
"""At most this many clips that were left out are named in the record and in the table's metadata."""

_REMEDIES = {
    "timeout": "raise extract.timeout, or free the machine",
    "out_of_memory": "more memory (slurm.mem), fewer clips at once (extract.workers), or a higher "
    "extract.engine_memory",
    "unreadable": "make the files readable",
    "changed": "put the planned files back, or take the new ones into the plan: --update",
    **dict.fromkeys(ENGINE_FAULTS, "the engine fails on these clips alone: try another build of it"),
}
"""What to do about missing clips, by their last failure."""


_ONE_OF_SEVERAL = "tried on one of several hosts: vmafarm retry tries another, vmafarm run decides here"
_DIFFERENT = "its tries ended in different ways, see its failure records; a higher extract.retries decides"


def names_without_row(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of the clips without a row, in byte order, from the table ``problems``."""
    found = connection.execute("SELECT clip_name FROM problems WHERE missing ORDER BY clip_name").fetchall()
    return [name for (name,) in found]


def judge_gaps(gaps: Gaps, clips: int, *, max_failed_share: float, allow_missing: bool) -> list[Finding]:
    """Judge the gaps.

    Parameters
    ----------
    gaps
        Clips without a row.
    clips
        Of the manifest.
    max_failed_share
        ``merge.max_failed_share``; see `vmafarm.shards.completeness.failures_allowed`.
    allow_missing
        Whether to publish with gaps.
    """
    findings = []
    gravity = "warn" if allow_missing else "error"
    if gaps.missing:
        missing = len(gaps.missing)
        names = ", ".join(map(show, gaps.missing[:SHOWN])) + (", ..." if missing > SHOWN else "")
        message = f"{missing:,} of {clips:,} clips are missing: {names}. {_why_missing(gaps)}. "
        message += "Published without them" if allow_missing else "To publish without them: --allow-missing"
        findings.append(Finding("missing", gravity, message, missing, "missing"))
    if gaps.failed:
        failed, allowed = len(gaps.failed), failures_allowed(clips, max_failed_share)
        message = (
            f"{failed:,} of {clips:,} clips ({failed / clips:.3%}) have failed for good, "
            f"{'more than' if failed > allowed else 'within'} the {allowed:,} that "
            f"merge.max_failed_share = {max_failed_share:.3%} allows: {describe_failed(gaps.failed)}"
        )
        if failed > allowed and not allow_missing:
            share = math.ceil(10_000 * failed / clips) / 10_000
            message += (
                f". To publish without them: --max-failed-share {share:g}. With other clips in their place, "
                "or none: change the files, then vmafarm run --update"
            )
        severity = gravity if failed > allowed else "warn"
        findings.append(Finding("failed_for_good", severity, message, failed, "failed_for_good"))
    return findings


def _why_missing(gaps: Gaps) -> str:
    """Why clips are missing and what to do, one sentence per kind."""
    kinds: dict[str, list[tuple[str, FailureRecord]]] = {}
    for name, record in gaps.tried.items():
        kinds.setdefault(record.failure, []).append((name, record))
    told = []
    if untried := len(gaps.missing) - len(gaps.tried):
        told.append(f"Not tried yet: {untried:,}: run the extraction (vmafarm run; on SLURM vmafarm retry)")
    for failure, those in sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0])):
        name, record = max(those, key=lambda found: found[1].at)
        remedy = _REMEDIES.get(failure, _DIFFERENT)
        if failure in CLIP_FAULTS and any(name in gaps.one_host for name, _ in those):
            remedy = _ONE_OF_SEVERAL
        told.append(f"{show(failure)} {len(those):,} (last: {show(name)}: {show(record.message)}): {remedy}")
    return "; ".join(told)


def count_classes(failures: Iterable[FailedClip]) -> dict[str, int]:
    """Number of clips that failed for good, by fault, most frequent first."""
    classes = Counter(clip.failure for clip in failures)
    return dict(sorted(classes.items(), key=lambda item: (-item[1], item[0])))


def describe_left_out(gaps: Gaps) -> dict[str, str]:
    """Clip name to the reason why the table lacks it: the fault, or ``missing``; the first `LISTED` clips."""
    left_out = dict.fromkeys(gaps.missing[:LISTED], "missing")
    left_out |= {name: clip.failure for name, clip in islice(gaps.failed.items(), LISTED)}
    return dict(islice(sorted(left_out.items()), LISTED))


def describe_failed(failed: Mapping[str, FailedClip]) -> str:
    """Faults with their counts, each with its first clip and message."""
    first = {clip.failure: (name, clip) for name, clip in reversed(list(failed.items()))}
    return ", ".join(
        f"{show(failure)} {count:,} (first: {show(first[failure][0])}: {show(first[failure][1].message)})"
        for failure, count in count_classes(failed.values()).items()
    )
