"""The merge: all shards of a run to one validated table, or the reasons why not."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from vmafarm.common.errors import IncompleteError, UsageError, show
from vmafarm.common.layout import labelled, unbroken
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.disk.regular_files import freeing_readers
from vmafarm.merging.audits import tell_audits
from vmafarm.merging.complete import LISTED
from vmafarm.merging.options import Options
from vmafarm.merging.record import describe_making
from vmafarm.merging.steps import Merge
from vmafarm.process.scratch import for_databases, scratch_folder
from vmafarm.published.in_place import InPlace
from vmafarm.published.merge_record import read_merge_record
from vmafarm.published.up_to_date import digest_inputs
from vmafarm.run_folder.paths import RunFolder
from vmafarm.schema.features import COLUMNS
from vmafarm.shards.completeness import FailedClip
from vmafarm.shards.footers import Finding
from vmafarm.shards.lost_provenance import restore_provenance
from vmafarm.sql import templates as sql

_ATTEMPTS = 3
"""An element that is still at work may put a longer shard in place of the one that is being read, which is
noticed; it does so every `extract.flush_every` clips, so that the next attempt nearly always has time."""


@dataclass(frozen=True)
class MergeResult:
    """What a merge found and did.

    Attributes
    ----------
    run
        Name of the run.
    published
        Whether `table` is the table of this merge.
    table, record
        Where the table is, or would be; where this result is written as JSON.
    table_sha256, inputs_sha256
        Digest of the table in place, as this merge has published it, or an earlier one where this one has
        published nothing; "" where that is not known. And of the files that were there when the merge began,
        see `vmafarm.published.up_to_date.digest_inputs`.
    counts
        Clips, rows, shards and what was made of them.
    slices
        Rows a slice, in summary.
    nan
        Column to the number of its rows that are NaN.
    audits
        Clips scored with both plans, and what came of it; see `vmafarm.merging.audits.count_audits`. Empty
        where the merge did not come so far.
    failed_classes
        Clips failed for good, by class of failure.
    failed_for_good
        The first of them: name to ``failure``, ``message``, ``tries`` and ``hosts``.
    options
        What was allowed.
    metadata
        Provenance, as it stands in the table's metadata.
    made
        How the rows came to be; see `vmafarm.merging.record.describe_making`.
    findings
        Errors first, then warnings, then information.
    """

    run: str
    published: bool
    table: Path
    record: Path
    table_sha256: str
    inputs_sha256: str
    counts: Mapping[str, int]
    slices: Mapping[str, int]
    nan: Mapping[str, int]
    audits: Mapping[str, Any]
    failed_classes: Mapping[str, int]
    failed_for_good: Mapping[str, FailedClip]
    options: Mapping[str, Any]
    metadata: Mapping[str, Any]
    made: Mapping[str, Any]
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        """The record: see docs/json.md. What comes after the merge is filled in later."""
        return {
            "version": 1, "run": self.run, "published": self.published, "delivered": False,
            "table": str(self.table), "record": str(self.record), "table_sha256": self.table_sha256,
            "inputs_sha256": self.inputs_sha256, "failed_classes": self.failed_classes,
            "counts": self.counts, "slices": self.slices, "nan": self.nan, "audits": self.audits,
            "failed_for_good": {n: _pick(clip, _FAILED) for n, clip in self.failed_for_good.items()},
            "options": self.options, "metadata": self.metadata, "made": self.made,
            "findings": [_pick(one, _FINDING) for one in self.findings], "qa": {},
        }  # fmt: skip

    def of(self, severity: str) -> list[Finding]:
        """Findings of one severity."""
        return [finding for finding in self.findings if finding.severity == severity]


_FAILED = ("failure", "message", "tries", "hosts")
_FINDING = ("name", "severity", "message", "count", "query", "column")


def _pick(one: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(one, name) for name in names}


def merge(
    folder: RunFolder,
    config: Config,
    *,
    allow_missing: bool = False,
    max_failed_share: float | None = None,
    on_conflict: str | None = None,
    threads: int | None = None,
    place: InPlace | None = None,
) -> MergeResult:
    """Check everything, and publish the table or say why not.

    Parameters
    ----------
    folder
        The run.
    config
        The effective configuration; the arguments below go before its keys.
    allow_missing
        Publish although clips are missing or too many have failed for good; the table's metadata
        then says so.
    max_failed_share
        Share of the clips that may have failed for good, 0..1; None: ``merge.max_failed_share``.
    on_conflict
        ``fail`` or ``latest``; None: ``merge.on_conflict``.
    threads
        Threads of DuckDB; None: the processors that this process may use. Changes no byte.
    place
        Of those who write what belongs to the table; knows it afterwards.

    Returns
    -------
    MergeResult
        Of a merge that has published its table; it also stands in ``folder.merge_record``.

    Raises
    ------
    UsageError
        The run is not planned, its manifest or provenance is damaged, an argument is not allowed.
    IncompleteError
        Nothing was published; all reasons, each with the query that shows it. The record is
        written, and the table of an earlier merge is left as it was.
    SupersededError
        Another merge has published another table meanwhile; it is left as it was, and so is its record.
    UnavailableError
        No memory, space or permission.
    """
    options = Options(
        allow_missing=allow_missing,
        max_failed_share=config.merge.max_failed_share if max_failed_share is None else max_failed_share,
        on_conflict=on_conflict or config.merge.on_conflict,
    )
    _check(options)
    place = place or InPlace(folder)
    restored = restore_provenance(folder)
    for _ in range(_ATTEMPTS):
        place.look()
        inputs = digest_inputs(folder)
        with (
            scratch_folder(for_databases(config.extract.scratch)) as scratch,
            sql.connect(scratch / "spill", memory=config.merge.memory, threads=threads) as connection,
            freeing_readers(folder.path),
        ):
            state = Merge(folder, config, options, connection, scratch, place)
            state.run()
        if not state.changed or (state.counts["missing"] and not allow_missing):
            break
    if restored:
        files = counted(restored, "file")
        message = f"provenance.json was lost or damaged; it was rebuilt from {files} of rows, which all agree"
        state.findings.append(Finding("provenance", "warn", message, restored))
    result = _result(state, inputs)
    place.replace_text(folder.merge_record, json.dumps(result.as_dict(), indent=1, ensure_ascii=False) + "\n")
    if not result.published:
        raise IncompleteError(
            explain(result), f"All counts and findings stand in {show(str(folder.merge_record))}"
        )
    return result


def _check(options: Options) -> None:
    if options.on_conflict not in ("fail", "latest"):
        raise UsageError(f"on_conflict = {options.on_conflict!r}, expected fail or latest")
    if not 0 <= options.max_failed_share <= 1:
        raise UsageError(f"max_failed_share = {options.max_failed_share!r}, expected a number from 0 to 1")


def _result(state: Merge, inputs: str) -> MergeResult:
    order = ("error", "warn", "info")
    return MergeResult(
        run=state.folder.name,
        published=state.published,
        table=state.folder.table,
        record=state.folder.merge_record,
        table_sha256=state.table_digest if state.published else _digest_before(state.folder),
        inputs_sha256=inputs,
        counts=state.counts,
        slices=state.slices,
        nan=state.nan,
        audits=state.audits,
        failed_classes=state.failed_classes,
        failed_for_good=dict(islice(state.failed.items(), LISTED)),
        options=asdict(state.options),
        metadata=state.metadata,
        made=describe_making(state.folder, state.config, state.hosts),
        findings=tuple(sorted(state.findings, key=lambda finding: order.index(finding.severity))),
    )


def _digest_before(folder: RunFolder) -> str:
    """What the record of an earlier merge says of the table that stays in place."""
    with suppress(UsageError):
        return str(read_merge_record(folder.merge_record).get("table_sha256", ""))
    return ""


def explain(result: MergeResult) -> str:
    """Say why nothing was published: every reason, with the query that shows its rows."""
    reasons = result.of("error")
    lines = [f'merge of "{result.run}": nothing published, {counted(len(reasons), "reason")}:']
    for number, reason in enumerate(reasons, 1):
        lines.append(f"{number}. [{reason.name}] {reason.message}")
        if reason.query:
            lines += ["   to see them, in DuckDB:", textwrap.indent(reason.query, "     ")]
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
    """Tell a published merge in lines that fit the terminal, but for a longer path.

    Parameters
    ----------
    result
        What `merge` returned.
    """
    counts = result.counts
    facts = [("rows", f"{counts['rows']:,} of {counts['clips']:,} clips, {len(COLUMNS)} columns")]
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
    expected = [finding.column for finding in result.of("info") if finding.name == "all_nan"]
    if expected:
        facts.append(("as expected", f"NaN in all rows: {', '.join(expected)}"))
    if warnings := result.of("warn"):
        names = ", ".join(dict.fromkeys(f.name for f in warnings))
        facts.append(("warnings", f"{len(warnings):,}: {names}; see the record"))
    files = [("record", unbroken(str(result.record))), ("table", unbroken(str(result.table)))]
    return labelled(facts + files)
