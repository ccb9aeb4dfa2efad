"""How many files and bytes of each kind a run keeps on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vmafarm.common.text import size
from vmafarm.disk.drafts import is_draft
from vmafarm.run_folder.paths import RunFolder

LOGS, SHARDS, JOURNALS, FRAMES, MARKERS, DRAFTS, OTHERS = (
    "logs, scripts", "shards", "journals", "frames", "markers", "drafts", "all else"
)  # fmt: skip
"""Kinds: markers are ``.done``, drafts what killed processes left, all else mainly clip logs and records."""

_SUFFIXES = {".parquet": SHARDS, ".journal": JOURNALS, ".done": MARKERS}


@dataclass(frozen=True)
class FileCounts:
    """What there is in the folder of a run.

    Attributes
    ----------
    files, bytes
        By kind.
    folders
        Folders below it.
    """

    files: dict[str, int]
    bytes: dict[str, int]
    folders: int

    def without(self, kind: str, files: int, size: int) -> FileCounts:
        """The same without some files of one kind."""
        return FileCounts(
            self.files | {kind: self.files[kind] - files},
            self.bytes | {kind: self.bytes[kind] - size},
            self.folders,
        )


def count_files(folder: RunFolder) -> FileCounts:
    """Count the files of a run; links count as files, and are not followed."""
    kinds = (LOGS, SHARDS, JOURNALS, FRAMES, MARKERS, DRAFTS, OTHERS)
    files, sizes, folders = dict.fromkeys(kinds, 0), dict.fromkeys(kinds, 0), 0
    for path, below, names in os.walk(folder.path):
        folders += len(below)
        parts = Path(path).relative_to(folder.path).parts
        for name in names:
            kind = _kind(parts, name)
            try:
                status = Path(path, name).lstat()
            except OSError:  # gone meanwhile
                continue
            files[kind] += 1
            sizes[kind] += status.st_size
    return FileCounts(files, sizes, folders)


def _kind(parts: tuple[str, ...], name: str) -> str:
    if is_draft(name):
        return DRAFTS
    if parts == ("logs",):
        return LOGS
    if parts[:1] == ("shards",):
        return _SUFFIXES.get(Path(name).suffix, OTHERS)
    if parts[:1] == ("frames",):
        return FRAMES
    return OTHERS


def compare(before: FileCounts, after: FileCounts) -> list[str]:
    """A table for a terminal of 60 columns: each kind before and after."""
    lines = [f"{'':<14}{'files':>10}{'left':>10}{'bytes':>12}{'left':>12}"]
    rows = [
        (kind, before.files[kind], after.files[kind], before.bytes[kind], after.bytes[kind])
        for kind in before.files
        if kind != FRAMES or before.files[kind]  # few runs keep them
    ]
    one, two, three, four = (sum(column) for column in list(zip(*rows, strict=True))[1:])
    for kind, files, left, size_before, size_left in (*rows, ("in all", one, two, three, four)):
        lines.append(f"{kind:<14}{files:>10,}{left:>10,}{size(size_before):>12}{size(size_left):>12}")
    return [*lines, f"{'folders':<14}{before.folders:>10,}{after.folders:>10,}"]
