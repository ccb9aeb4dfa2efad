"""Rebuilds the run's provenance from its rows, each of which states it, where its file is lost or damaged."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

from vmafarm.common.errors import UnavailableError, UsageError, reason, show
from vmafarm.disk.durable import create_text, replace_text
from vmafarm.disk.jsonl import parse_json
from vmafarm.disk.regular_files import NOT_AS_EXPECTED
from vmafarm.disk.sealed_parquet import DamagedError, open_sealed
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import (
    METADATA_KEY,
    DamagedProvenanceError,
    Provenance,
    mixing_differences,
    read_provenance,
)
from vmafarm.shards.journal import read_journal


def restore_provenance(folder: RunFolder) -> int:
    """Rebuild the provenance file of a run if it is lost or damaged, and shards and journals agree.

    Parameters
    ----------
    folder
        Of a planned run.

    Returns
    -------
    int
        From how many files with rows; 0: the file is whole, or neither it nor rows are there.

    Raises
    ------
    UsageError
        It cannot be read; or it has to be rebuilt, and the rows do not agree, or there are none.
    UnavailableError
        It is not there, and neither is a row that can be read now, which may be one of another engine.
    """
    path, damage = folder.provenance, ""
    try:
        if read_provenance(path) is not None:
            return 0
    except DamagedProvenanceError as error:
        damage = error.message
    found = _in_rows(folder)
    if not found:
        if damage:
            raise UsageError(damage, "remove it: no row is there yet, and the extraction writes it anew")
        return 0
    text = _agreed(folder, found, damage or f"{show(str(path))} is not there").as_file()
    if damage:
        replace_text(path, text)
    else:
        try:
            create_text(path, text)
        except FileExistsError:  # an element has begun meanwhile
            return 0
    return len(found)


def _in_rows(folder: RunFolder) -> dict[Path, Provenance]:
    """What each shard and journal was made with; those that are damaged are told by a merge."""
    found, unreadable = {}, []
    for path in _files(folder.shards):
        try:
            if path.suffix == ".parquet":
                metadata = open_sealed(path).schema.metadata or {}
                found[path] = Provenance.from_dict(parse_json(metadata[METADATA_KEY]))
            elif path.suffix == ".journal" and (stated := read_journal(path).provenance) is not None:
                found[path] = Provenance.from_dict(dict(stated))
        except (DamagedError, ValueError, KeyError, TypeError, AttributeError):
            continue
        except OSError as error:
            if error.errno not in (*NOT_AS_EXPECTED, errno.ENOENT):
                unreadable.append(f"{show(str(path))}: {reason(error)}")
    if unreadable and not found:
        raise UnavailableError(
            f"{show(str(folder.provenance))} is lost or damaged, and the rows that say what it held "
            f"cannot be read: {unreadable[0]}",
            "make them readable, then run the same command again",
        )
    return found


def _files(shards: Path) -> list[Path]:
    """What lies in the folders of slices."""
    try:
        folders = sorted(path for path in shards.iterdir() if path.is_dir())
        return [path for folder in folders for path in sorted(folder.iterdir())]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UnavailableError(
            f"{show(str(error.filename))} cannot be read: {reason(error)}", "make it readable for this user"
        ) from None


def _agreed(folder: RunFolder, found: dict[Path, Provenance], problem: str) -> Provenance:
    first = next(iter(found))
    ours, manifest = found[first], load_manifest(folder)
    why = (
        ""
        if ours.manifest in manifest.digests
        else f"the manifest is {manifest.digest}, {show(first.name)} is of {show(ours.manifest)}"
    )
    for path, theirs in found.items():
        if different := mixing_differences(theirs.as_dict(), ours, manifest.digests):
            why = f"{show(str(path))} differs from {show(str(first))}: {'; '.join(different)}"
            break
    if why:
        raise UsageError(
            f"{problem}, and the rows do not agree on what it said: {why}",
            "restore it from a copy, or move shards and journals away that are not this run's",
        )
    return replace(ours, manifest=manifest.origin)
