"""What a merge found and did, and how it is put into words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vmafarm.common.errors import show
from vmafarm.common.layout import labelled, unbroken
from vmafarm.common.text import counted
from vmafarm.merging.audits import tell_audits
from vmafarm.run_folder.provenance import feature_set_of
from vmafarm.shards.completeness import FailedClip
from vmafarm.shards.footers import Finding

_COUNTS = (
    "clips", "rows", "shards", "journals", "recovered_rows", "torn_lines", "duplicate_rows", "conflicts",
    "not_repeatable", "missing", "failed_for_good",
)  # fmt: skip


@dataclass
class MergeResult:
    """What a merge found and did; its steps fill it in.

    Attributes
    ----------
    run
        Name of the run.
    table, record
        Where the table is, or would be; where this result is written as JSON.
    options
        What was allowed.
    inputs_sha256
        Digest of the files that were there when the merge began, see
        `vmafarm.published.up_to_date.digest_inputs`.
    published
        Whether `table` is the table of this merge.
    table_sha256
        Digest of the table in place, as this merge has published it, or an earlier one where this one has
        published nothing; "" where that is not known.
    counts
        Clips, rows, shards and what was made of them.
    slices
        Rows per slice, in summary.
    nan
        Column to the number of its rows that are NaN.
    audits
        Clips scored with both plans, and what came of it; see `vmafarm.merging.audits.count_audits`. Empty
        if the merge did not get that far.
    failed_classes
        Clips failed for good, by class of failure.
    failed_for_good
        The first of them: name to ``failure``, ``message``, ``tries`` and ``hosts``.
    conflicts
        The first clips whose rows disagree: ``clip_name``, ``columns`` and ``files``.
    metadata
        Provenance, as it stands in the table's metadata.
    made
        How the rows came to be; see `vmafarm.merging.record.describe_making`.
    findings
        Errors first, then warnings, then information.
    carried
        The side table; see `vmafarm.merging.carried.put_carried`. Empty: there is none.
    frames
        The table of frames; see `vmafarm.merging.frames.add_frames`. Empty: there is none.
    """

    run: str
    table: Path
    record: Path
    options: Mapping[str, Any]
    inputs_sha256: str
    published: bool = False
    table_sha256: str = ""
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))
    slices: Mapping[str, int] = field(default_factory=dict)
    nan: Mapping[str, int] = field(default_factory=dict)
    audits: Mapping[str, Any] = field(default_factory=dict)
    failed_classes: Mapping[str, int] = field(default_factory=dict)
    failed_for_good: Mapping[str, FailedClip] = field(default_factory=dict)
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    carried: Mapping[str, Any] = field(default_factory=dict)
    frames: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The record: see docs/json.md. What comes after the merge is filled in later."""
        return {
            "version": 1, "run": self.run, "published": self.published, "delivered": False,
            "table": str(self.table), "record": str(self.record), "table_sha256": self.table_sha256,
            "inputs_sha256": self.inputs_sha256, "failed_classes": self.failed_classes,
            "counts": self.counts, "slices": self.slices, "nan": self.nan, "audits": self.audits,
            "failed_for_good": {n: _pick(clip, _FAILED) for n, clip in self.failed_for_good.items()},
            "conflicts": self.conflicts, "options": self.options, "metadata": self.metadata,
            "made": self.made, "findings": [_pick(one, _FINDING) for one in self.findings], "qa": {},
            "tidied": [], "carried": self.carried, "frames": self.frames, "database": {},
        }  # fmt: skip

    def of(self, severity: str) -> list[Finding]:
        """Findings of one severity."""
        return [finding for finding in self.findings if finding.severity == severity]

    @property
    def blocked(self) -> bool:
        """Whether something was found on which nothing is published."""
        return bool(self.of("error"))


_FAILED = ("failure", "message", "tries", "hosts")
_FINDING = ("name", "severity", "message", "count", "check")


def _pick(one: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(one, name) for name in names}


def refusal(result: MergeResult) -> str:
    """Say why nothing was published: every reason, with the check that shows its rows."""
    reasons = result.of("error")
    lines = [f'merge of "{result.run}": nothing published, {counted(len(reasons), "reason")}:']
    for number, reason in enumerate(reasons, 1):
        lines.append(f"{number}. [{reason.name}] {reason.message}")
        if reason.check:
            lines.append(f"   to see the rows: vmafarm qa --run {show(result.run)} --check {reason.check}")
    lines += ["Failed for good:", *failed] if (failed := list_failed(result)) else []
    if result.table.exists():
        lines.append(f"The table of an earlier merge, {show(str(result.table))}, is untouched.")
    return "\n".join(lines)


def list_failed(result: MergeResult) -> list[str]:
    """The clips that have failed for good, a line each with its reason; of many the first ones."""
    failed = list(result.failed_for_good.items())
    lines = ["  " + show(f"{name}: {clip.failure}: {clip.message}") for name, clip in failed[:_SHOWN]]
    if (more := result.counts["failed_for_good"] - len(lines)) > 0:
        lines.append(f"  and {more:,} more: see {show(str(result.record))}")
    return lines


_SHOWN = 10


def summarise(result: MergeResult) -> list[str]:
    """Describe a published merge in lines that fit the terminal, but for a longer path."""
    counts, features = result.counts, feature_set_of(result.metadata)
    columns = len(features.columns)
    facts = [("rows", f"{counts['rows']:,} of {counts['clips']:,} clips, {columns} columns")]
    if counts["duplicate_rows"]:
        facts.append(("duplicates", f"{counted(counts['duplicate_rows'], 'equal row')} collapsed"))
    if counts["conflicts"]:
        facts.append(("conflicts", f"{counted(counts['conflicts'], 'clip')}: the latest row taken"))
    if counts["not_repeatable"]:
        clips = counted(counts["not_repeatable"], "damaged clip")
        facts.append(("not repeatable", f"{clips}: rows differ, one of each is taken"))
    if counts["recovered_rows"]:
        rows = counted(counts["recovered_rows"], "row")
        facts.append(("recovered", f"{rows} from journals of writers that did not end"))
    if elsewhere := counts.get("rows_elsewhere"):
        facts.append(("on the CPU", f"{counted(elsewhere, 'clip')} on which a GPU failed; see the clip logs"))
    if counts["missing"]:
        facts.append(("missing", f"{counted(counts['missing'], 'clip')}, published without"))
    if result.failed_classes:
        classes = ", ".join(f"{name} {count:,}" for name, count in result.failed_classes.items())
        facts.append(("failed for good", f"{counted(counts['failed_for_good'], 'clip')}: {classes}"))
        facts += [("", line.strip()) for line in list_failed(result)]
    constant = [name for name, how in result.metadata["features"].items() if how == "constant"]
    if constant:
        facts.append(("constant", f"known on an identity pair, filled in: {', '.join(constant)}"))
    facts += tell_audits(result.audits, result.metadata["plan"])
    nan = [name for name, rows in result.nan.items() if rows == counts["rows"]]
    all_nan = {f"{name}_{pool}" for name in features.all_nan for pool in features.pools}
    expected = [name for name in nan if name == "mos" or name in all_nan]
    if expected:
        facts.append(("as expected", f"NaN in all rows: {', '.join(expected)}"))
    if others := [name for name in nan if name not in expected]:
        facts.append(("NaN in all rows", f"{', '.join(others)}: right for clips of some sizes or contents"))
    if warnings := result.of("warn"):
        names = ", ".join(dict.fromkeys(f.name for f in warnings))
        facts.append(("warnings", f"{len(warnings):,}: {names}; see the record"))
    if result.frames:
        facts.append(("frames", f"{result.frames['rows']:,} rows in {show(result.frames['file'])}"))
    files = [("record", unbroken(str(result.record))), ("table", unbroken(str(result.table)))]
    return labelled(facts + files)
