"""Whether a published table is the one that its record describes, made from the files that are there now.

By content alone: copies, restored backups and clocks change times.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from vmafarm.common.errors import UsageError
from vmafarm.common.steps import counting, working
from vmafarm.config.sections import Config
from vmafarm.disk.regular_files import MOST_BYTES, open_regular
from vmafarm.disk.sealed_blocks import stated_digest
from vmafarm.disk.sealed_parquet import DamagedError
from vmafarm.published.frames_table import is_whole
from vmafarm.published.merge_record import read_merge_record
from vmafarm.run_folder.paths import RunFolder
from vmafarm.shards.completeness import failures_allowed

_BLOCK = 1 << 20


def digest_file(path: Path, most: int | None = None) -> str:
    """SHA-256 of a file of at most `most` bytes (None: any size), in hexadecimal digits; raises OSError."""
    with open_regular(path, most) as file:
        return digest_open(file)


def digest_open(file: FileIO) -> str:
    """SHA-256 of an open file, from its beginning."""
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class Input:
    """A file that a table is made from.

    Attributes
    ----------
    file
        Its path, from the run folder on.
    bytes
        Its size; -1: it cannot be read.
    sha256
        Of its content; a sealed file states its own. Empty: it cannot be read, or is no Parquet file.
    """

    file: str
    bytes: int
    sha256: str


def read_input(folder: RunFolder, path: Path) -> Input:
    """Size and digest of one file of a run, as they are now."""
    try:
        size, content = path.stat().st_size, _digest(path)
    except OSError:  # gone meanwhile, or cannot be read: not what was merged
        size, content = -1, ""
    return Input(os.path.relpath(path, folder.path), size, content)


def digest_inputs(folder: RunFolder, tidied: Iterable[Input] = ()) -> str:
    """SHA-256 of all a table is made from: manifest, provenance, labels, shards, journals and failures.

    Sealed files state the digest of their content, which is used. Call this before a merge reads the files:
    a file that arrives in between then counts as a difference, not as merged.

    Parameters
    ----------
    folder
        The run.
    tidied
        Files that were merged and may have been removed since, because nothing needs them. One that is not
        there counts as if it were.

    Returns
    -------
    str
        Of the names, sizes and contents, in the order of the names.
    """
    digest = hashlib.sha256()
    parts = {folder.path / one.file: one for one in tidied}
    there = _parts(folder)
    parts |= {path: read_input(folder, path) for path in counting(there, "looking at", "files", len(there))}
    first = [read_input(folder, path) for path in (folder.manifest, folder.provenance)]
    for one in (*first, *(parts[path] for path in sorted(parts))):
        name = os.fsencode(one.file)
        digest.update(b"%d %s %d %s\n" % (len(name), name, one.bytes, one.sha256.encode()))
    return digest.hexdigest()


def _digest(path: Path) -> str:
    if path.suffix != ".parquet":
        return digest_file(path, MOST_BYTES)
    try:
        return stated_digest(path) or digest_file(path, MOST_BYTES)
    except DamagedError:  # not Parquet at all, whatever is in it: no merge takes it
        return ""


def _parts(folder: RunFolder) -> list[Path]:
    shards = (path for path in folder.shards.glob("*/*") if path.suffix in (".parquet", ".journal"))
    labels = [folder.labels] if folder.labels.exists() else []
    return sorted([*shards, *folder.failures.glob("*.jsonl"), *labels])


@working("")
def read_delivered(config: Config, *, allow_missing: bool = False) -> dict[str, Any] | None:
    """The record of the last merge, if its table is unchanged and up to date, and all beside it is finished.

    Parameters
    ----------
    config
        The configuration of a planned run.
    allow_missing
        Whether clips may be missing, or more may have failed for good than the configuration allows.

    Returns
    -------
    dict or None
        None too where that merge was allowed more than this, so that a merge now would publish nothing.
    """
    folder = config.folder
    try:
        record = read_merge_record(folder.merge_record)
        if not record.get("delivered") or not _would_be_published(record, config, allow_missing):
            return None
        beside = [folder.card, *([folder.report] if config.merge.checks else [])]
        is_same = (
            all(path.exists() for path in beside)
            and record["inputs_sha256"] == digest_inputs(folder, read_tidied(record))
            and record["table_sha256"] == digest_file(folder.table)
            and (not record["frames"] or is_whole(folder.frames_table, record["frames"]))
        )
    except (OSError, UsageError):
        return None
    return record if is_same else None


def read_tidied(record: Mapping[str, Any]) -> list[Input]:
    """Files that may have been removed since the merge, by its record."""
    return [Input(one["file"], one["bytes"], one["sha256"]) for one in record["tidied"]]


def _would_be_published(record: Mapping[str, Any], config: Config, allow_missing: bool) -> bool:
    counts: Mapping[str, int] = record["counts"]
    if record["options"]["allow"] != config.merge.allow:
        return False
    if counts.get("conflicts", 0) and config.merge.on_conflict == "fail":
        return False
    gpu = record["audits"]["gpu"].values()
    beyond, audited = sum(one["beyond"] for one in gpu), sum(one["clips"] for one in gpu)
    if beyond > audited * config.engine.max_gpu_differences:
        return False
    failed, allowed = (
        counts.get("failed_for_good", 0),
        failures_allowed(counts.get("clips", 0), config.merge.max_failed_share),
    )
    return allow_missing or (not counts.get("missing", 0) and failed <= allowed)


def recorded_errors(record: Mapping[str, Any]) -> dict[str, str]:
    """Checks that found errors, or could not be run, by the record of a merge: name to what was expected."""
    return {
        name: str(found.get("message", ""))
        for name, found in record.get("qa", {}).items()
        if found["result"] == "failed" or (found["severity"] == "error" and found["result"] == "found")
    }


def rows_since(folder: RunFolder, done: int) -> int:
    """How many of `done` clips with a row the published table lacks; 0 where no record speaks of a table.

    Raises
    ------
    UsageError
        The record is not what a merge writes.
    """
    record = read_merge_record(folder.merge_record)
    if not record.get("published") or not folder.table.exists():
        return 0
    rows: int = record["counts"].get("rows", done)
    return max(0, done - rows)


def read_errors(folder: RunFolder) -> dict[str, str]:
    """What `recorded_errors` says of the published table; empty where there is none, or no record of it.

    Raises
    ------
    UsageError
        The record is not what a merge writes.
    """
    record = read_merge_record(folder.merge_record)
    if not record.get("published"):
        return {}
    options, found = record["options"], recorded_errors(record)
    allowed = [*options["allow"], *(["missing"] if options["allow_missing"] else [])]
    return {name: why for name, why in found.items() if name not in allowed}
