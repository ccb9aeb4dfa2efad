"""The merge: all shards of a run to one validated table, or the reasons why not."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from vmafarm.common.errors import IncompleteError, UsageError, show
from vmafarm.common.steps import working
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.disk.regular_files import freeing_readers
from vmafarm.merging.carried import put_carried, read_carried
from vmafarm.merging.record import describe_making
from vmafarm.merging.result import MergeResult, refusal
from vmafarm.merging.steps import Merge
from vmafarm.process.scratch import for_databases, scratch_folder
from vmafarm.published.frames_table import remove_frames, require_no_frames, require_place
from vmafarm.published.in_place import InPlace
from vmafarm.published.merge_record import read_merge_record
from vmafarm.published.up_to_date import digest_inputs
from vmafarm.query.checks import find_checks
from vmafarm.run_folder.paths import RunFolder
from vmafarm.shards.footers import Finding
from vmafarm.shards.lost_provenance import restore_provenance
from vmafarm.sql import templates as sql

_ATTEMPTS = 3
"""An element that is still at work may put a longer shard in place of the one that is being read, which is
noticed; it does so every `extract.flush_every` clips, so that the next attempt nearly always has time."""


@working("merging")
def merge(
    folder: RunFolder, config: Config, *, allow_missing: bool = False, place: InPlace | None = None
) -> MergeResult:
    """Check everything, and publish the table or say why not.

    Parameters
    ----------
    folder
        The run.
    config
        The effective configuration; its section ``merge`` says what is allowed.
    allow_missing
        Publish although clips are missing or too many have failed for good; the table's metadata
        then says so.
    place
        For callers that write files belonging to the table; afterwards it stands for the new table.

    Returns
    -------
    MergeResult
        Of a merge that has published its table; it also stands in ``folder.merge_record``.

    Raises
    ------
    UsageError
        The run is not planned, its manifest or provenance is damaged, ``merge.allow`` names no check, or the
        labels that ``corpus.carry`` names cannot be read.
    IncompleteError
        Nothing was published; all reasons, each with the check that shows its rows. The record is
        written, and the table of an earlier merge is left as it was.
    SupersededError
        Another merge has published another table meanwhile; it is left as it was, and so is its record.
    UnavailableError
        No memory, space or permission.
    """
    find_checks(config.merge.allow)
    place = place or InPlace(folder)
    labels = read_carried(folder, config.corpus.carry)
    require_no_frames(folder)
    if config.engine.frames:
        require_place(folder)
    restored = restore_provenance(folder)
    for _ in range(_ATTEMPTS):
        place.look()
        result = MergeResult(
            folder.name, folder.table, folder.merge_record, _options(config, allow_missing),
            digest_inputs(folder),
        )  # fmt: skip
        with (
            scratch_folder(for_databases(config.extract.scratch)) as scratch,
            sql.connect(scratch / "spill", memory=config.merge.memory) as connection,
            freeing_readers(folder.path),
        ):
            state = Merge(folder, config, result, connection, scratch, place)
            state.run()
        if not state.changed or (result.counts["missing"] and not allow_missing):
            break
    if restored:
        files = counted(restored, "file")
        message = f"provenance.json was lost or damaged; it was rebuilt from {files} of rows, which all agree"
        result.findings.append(Finding("provenance", "warn", message, restored))
    result.findings.sort(key=lambda finding: ("error", "warn", "info").index(finding.severity))
    result.made = describe_making(folder, config, state.hosts)
    if result.published:
        result.carried = put_carried(folder, labels, place)
        if not result.frames:
            remove_frames(folder)
    else:
        result.table_sha256 = _digest_before(folder)
    place.replace_text(folder.merge_record, json.dumps(result.as_dict(), indent=1, ensure_ascii=False) + "\n")
    if not result.published:
        raise IncompleteError(
            refusal(result), f"All counts and findings are in {show(str(folder.merge_record))}"
        )
    return result


def _options(config: Config, allow_missing: bool) -> dict[str, Any]:
    keys = ("max_failed_share", "on_conflict", "allow")
    return {"allow_missing": allow_missing, **{key: getattr(config.merge, key) for key in keys}}


def _digest_before(folder: RunFolder) -> str:
    """What the record of an earlier merge says of the table that stays in place."""
    with suppress(UsageError):
        return str(read_merge_record(folder.merge_record).get("table_sha256", ""))
    return ""
