"""What lies in the shards folder: shards, journals, and what does not belong there."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from vmafarm.common.errors import show
from vmafarm.common.utf8 import is_utf8
from vmafarm.disk.regular_files import kind_of
from vmafarm.run_folder.paths import RunFolder, slice_folder, slice_id
from vmafarm.shards.footers import Finding, examples


@dataclass
class Listing:
    """What lies in the shards folder.

    Attributes
    ----------
    shards, journals
        Absolute paths, ordered.
    leftovers
        Temporary files of writers that were killed while writing; they hold nothing that counts.
    wrong
        What may hold rows but is in the wrong place or of the wrong kind, each with the reason.
    strange
        What holds no rows and is not known.
    """

    shards: list[Path] = field(default_factory=list)
    journals: list[Path] = field(default_factory=list)
    leftovers: int = 0
    wrong: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)


def list_shards(folder: RunFolder, slices: Collection[int]) -> Listing:
    """List shards and journals; whatever else lies there is told, not passed over.

    Parameters
    ----------
    folder
        The run.
    slices
        Numbers of the manifest's slices.
    """
    listing = Listing()
    root = folder.shards.absolute()
    if not root.is_dir():
        return listing
    for entry in sorted(os.scandir(root), key=lambda e: e.name):
        number, kind = slice_id(Path(entry.name)), kind_of(entry)
        if kind != "folder":
            what = listing.wrong if _holds_rows(entry.name) or number is not None else listing.strange
            found = "a file" if kind == "file" else kind
            what.append(f"{show(entry.name)}: {found}, expected folders of slices alone")
        elif number is None or entry.name != slice_folder(number):
            _refuse(listing, entry, "not the folder of a slice, expected names like slice-00012")
        elif number not in slices:
            _refuse(listing, entry, "the manifest has no such slice")
        else:
            _list_slice(listing, entry)
    return listing


def _list_slice(listing: Listing, folder: os.DirEntry[str]) -> None:
    for entry in sorted(os.scandir(folder.path), key=lambda e: e.name):
        if entry.name.endswith(".tmp"):
            listing.leftovers += 1
        elif _holds_rows(entry.name) and (kind := kind_of(entry)) != "file":
            found = "a folder" if kind == "folder" else kind
            listing.wrong.append(f"{folder.name}/{show(entry.name)}: {found}, expected a file")
        elif _holds_rows(entry.name) and not is_utf8(entry.name):
            listing.wrong.append(f"{folder.name}/{show(entry.name)}: the name is not UTF-8")
        elif entry.name.endswith(".parquet"):
            listing.shards.append(Path(entry.path))
        elif entry.name.endswith(".journal"):
            listing.journals.append(Path(entry.path))
        elif not entry.name.endswith(".done"):
            listing.strange.append(f"{folder.name}/{show(entry.name)}: neither shard, journal nor .done")


def _refuse(listing: Listing, folder: os.DirEntry[str], reason: str) -> None:
    rows = any(_holds_rows(name) for _, _, names in os.walk(folder.path) for name in names)
    (listing.wrong if rows else listing.strange).append(f"{show(folder.name)}: {reason}")


def _holds_rows(name: str) -> bool:
    return name.endswith((".parquet", ".journal"))


def judge_listing(listing: Listing) -> list[Finding]:
    """Say what lies in the shards folder and is neither shard nor journal."""
    wrong, strange, leftovers = len(listing.wrong), len(listing.strange), listing.leftovers
    told = f"rows where no shard belongs: {examples(listing.wrong)}. Move them out of the shards folder"
    findings = [
        Finding("misplaced", "error", told, wrong),
        Finding("unknown_file", "warn", f"not known, not read: {examples(listing.strange)}", strange),
        Finding("leftover", "info", "temporary files of writers that were killed", leftovers),
    ]
    return [finding for finding in findings if finding.count]
