"""The database that is kept beside a table, and whether it still is what a new copy of the run would be.

The record of the merge states its digest, so that neither damage nor another writer goes unnoticed, and a
digest of what it was made from: versions, settings, and the stamps of all files. If any of that is not the
same, or if a user who is not trusted owns one of these files, the run is copied again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb

from vmafarm import __version__
from vmafarm.common.errors import UsageError
from vmafarm.config.clip_limits import Limits
from vmafarm.config.sections import Config
from vmafarm.disk.file_stamp import Stamp
from vmafarm.disk.regular_files import open_regular
from vmafarm.published.in_place import InPlace
from vmafarm.published.merge_record import read_merge_record
from vmafarm.published.up_to_date import digest_open
from vmafarm.query.reference_tables import column_rows, run_facts
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.permissions import is_trusted
from vmafarm.sql.templates import sql_folder

_BLOCK = 1 << 20


def describe_sources(config: Config) -> str:
    """SHA-256 of all that a copy of a run is made from, files by name, inode, size and time; frames too.

    Call this before the run is copied, and before its frames are verified: what changes meanwhile then makes
    the copy an earlier one.

    Parameters
    ----------
    config
        Of a planned run.

    Returns
    -------
    str
        Hexadecimal digits; "": no table is published, or not all of it can be seen.
    """
    try:
        record = read_merge_record(config.folder.merge_record)
    except UsageError:
        return ""
    if not record.get("published"):
        return ""
    about = {
        "record": [record[key] for key in ("table_sha256", "findings", "conflicts", "frames")],
        "vmafarm": __version__, "duckdb": duckdb.__version__, "sample": config.run.sample,
        "facts": run_facts(config), "limits": Limits.of(config.extract).as_dict(), "columns": column_rows(),
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for template in sorted(
        (sql_folder() / "query").glob("*.sql")
    ):  # versions that are not released share a number
        digest.update(template.read_bytes())
    try:
        for name, status in sorted(_files(config.folder, frames=bool(record["frames"]))):
            stamp = Stamp.of(status).of_content()
            facts = b"%d %d %d" % (stamp.inode, stamp.bytes, stamp.written_ns)
            name = os.path.relpath(name, config.folder.root)  # the run may be named by another path
            digest.update(b"\n%d %s %s" % (len(name), os.fsencode(name), facts))
    except OSError:
        return ""
    return digest.hexdigest()


def _files(folder: RunFolder, *, frames: bool) -> Iterator[tuple[str, os.stat_result]]:
    # Nothing is copied of the frames: as long as they are this file, they are the ones that were verified.
    beside = [folder.frames_table] if frames else []
    for path in (
        folder.table, *folder.manifests(), folder.manifest, folder.provenance, folder.labels, *beside
    ):  # fmt: skip
        with suppress(FileNotFoundError):
            yield str(path), path.stat()
    for each in (folder.clip_logs, folder.failures, folder.elements):
        yield from _below(each, "")
    yield from _below(folder.shards, ".journal")  # rows come from the table, entries also from journals


def _below(folder: Path, suffix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Files in a folder and in its subfolders; there are no deeper ones."""
    with suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            if entry.is_dir():
                for inner in os.scandir(entry.path):
                    if inner.name.endswith(suffix):
                        yield inner.path, inner.stat()
            elif entry.name.endswith(suffix):
                yield entry.path, entry.stat()


def keep(config: Config, file: Path, place: InPlace, made_from: str) -> None:
    """Put a copy of a run in place for other clients, and state it in the record of the published table.

    Parameters
    ----------
    config
        The run's.
    file
        The copy.
    place
        The table that it was made with; raises SupersededError if another one is there now.
    made_from
        `describe_sources` before it was made; "": it is not stated, so that no query is asked of it.
    """
    folder = config.folder
    with open_regular(file, None) as copy:
        digest = digest_open(copy)
        place.replace(folder.database, lambda draft: _copy(copy, draft.write))
    if made_from:
        place.add_to_record(folder.merge_record, database={"sha256": digest, "made_from": made_from})


def take_kept(config: Config, file: Path) -> bool:
    """Copy the database that is kept beside the table, if it is certain to be what a new copy would be.

    Parameters
    ----------
    config
        Of a planned run.
    file
        Where to copy it, byte by byte: DuckDB would open it by its name, which may be another one's by then,
        and replay a log that lies beside it.

    Returns
    -------
    bool
        Whether that was done.
    """
    folder, trusted = config.folder, config.run.trusted_owners
    try:
        record = read_merge_record(folder.merge_record)
        stated: dict[str, str] = record.get("database", {})
        if not stated:
            return False
        with open_regular(folder.database, None) as kept:
            owners = [os.fstat(kept.fileno()).st_uid]
            owners += [path.stat().st_uid for path in (folder.path, folder.root, folder.merge_record)]
            if not all(is_trusted(owner, trusted) for owner in owners):
                return False
            if describe_sources(config) != stated.get("made_from"):
                return False
            with file.open("wb") as copy:
                is_same = _copy(kept, copy.write) == stated.get("sha256")
    except (OSError, UsageError):
        is_same = False
    if not is_same:
        file.unlink(missing_ok=True)
    return is_same


def _copy(source: Any, write: Callable[[bytes], object]) -> str:
    """Write all of an open file; its SHA-256."""
    digest = hashlib.sha256()
    source.seek(0)
    while block := source.read(_BLOCK):
        digest.update(block)
        write(block)
    return digest.hexdigest()
