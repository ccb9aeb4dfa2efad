"""What the clip logs remark on clips that have their rows: counted at the end of a run and in its status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from vmafarm.common.errors import show
from vmafarm.disk.file_stamp import ReadOnce
from vmafarm.disk.sealed_parquet import DamagedError
from vmafarm.run_folder.manifest import most_rows
from vmafarm.run_folder.paths import RunFolder
from vmafarm.shards.clip_log import list_clip_logs, read_clip_log
from vmafarm.shards.journal import read_journal
from vmafarm.shards.planned import read_places

EXAMPLES = 5
_TEXTS = {
    "short": ("is shorter than it says", "are shorter than they say"),
    "not_repeatable": (
        "has damage that was concealed: another decode may give other values",
        "have damage that was concealed: another decode may give other values",
    ),
}


@dataclass(frozen=True)
class Remark:
    """Clips of one kind.

    Attributes
    ----------
    clips
        How many.
    examples
        Names of the first few, as a terminal can show them.
    """

    clips: int
    examples: tuple[str, ...]


class RemarkReader:
    """Reads the remarks of a run, again and again; a file that has not changed is read once.

    Parameters
    ----------
    folder
        The run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._most_rows = 0
        self._files = ReadOnce(self._read, DamagedError)
        self._folders: dict[Path, str] = {}

    @property
    def problems(self) -> dict[Path, str]:
        """Files and folders that could not be read, with the reason."""
        return self._files.problems | self._folders

    def read(self) -> dict[str, Remark]:
        """Remarks of the clips by kind, ``short`` and ``not_repeatable``; a kind without clips is not there.

        A log that cannot be read counts as empty: the merge names it.
        """
        found: dict[str, set[str]] = {kind: set() for kind in _TEXTS}
        self._most_rows = most_rows(self._folder)
        self._files.forget_removed()
        logs, self._folders = list_clip_logs(self._folder)
        places = read_places(self._folder)
        for path in (*self._folder.shards.glob("*/*.journal"), *logs):
            for kind, name, number in self._files.get(path) or ():
                if places is None or places.get(name) == number:
                    found[kind].add(name)
        return {
            kind: Remark(len(names), tuple(show(name) for name in sorted(names)[:EXAMPLES]))
            for kind, names in found.items()
            if names
        }

    def _read(self, path: Path) -> list[tuple[str, str, int]]:
        """Kind, clip name and slice of each remark."""
        if path.suffix == ".journal":
            entries = [entry for _, entry in read_journal(path).rows]
        else:
            columns = ("clip_name", "short", "repeatable", "slice")
            log = read_clip_log(path, self._most_rows, columns)
            is_worth_it = pc.or_(log["short"], pc.invert(log["repeatable"]))
            entries = log.filter(is_worth_it).to_pylist()  # hardly any
        found = [("short", one["clip_name"], one["slice"]) for one in entries if one["short"]]
        return found + [
            ("not_repeatable", one["clip_name"], one["slice"]) for one in entries if not one["repeatable"]
        ]


def tell_remarks(remarks: Mapping[str, Remark]) -> list[str]:
    """One line for each kind, for example "2 clips are shorter than they say: a.wmv, b.ogv"."""
    lines = []
    for kind, remark in remarks.items():
        text = _TEXTS[kind][remark.clips > 1]
        more = remark.clips - len(remark.examples)
        names = ", ".join(remark.examples) + (f", and {more:,} more" if more else "")
        lines.append(f"{remark.clips:,} clip{'s' if remark.clips > 1 else ''} {text}: {names}")
    return lines
