"""What the clip logs remark on clips that have their rows: counted at the end of a run and in its status."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vmafarm.common.errors import reason, show
from vmafarm.disk.sealed_parquet import DamagedError
from vmafarm.run_folder.manifest import most_rows
from vmafarm.run_folder.paths import RunFolder
from vmafarm.shards.clip_log import list_clip_logs, read_clip_log
from vmafarm.shards.journal import read_journal

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

    Attributes
    ----------
    problems
        Files that could not be read, with the reason.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.problems: dict[Path, str] = {}
        self._folder = folder
        self._most_rows = 0
        self._seen: dict[Path, tuple[tuple[int, int, int], list[tuple[str, str]]]] = {}

    def read(self) -> dict[str, Remark]:
        """Remarks of the clips by kind, ``short`` and ``not_repeatable``; a kind without clips is not there.

        A log that cannot be read counts as empty: the merge names it.
        """
        found: dict[str, set[str]] = {kind: set() for kind in _TEXTS}
        self._most_rows = most_rows(self._folder)
        logs, unreadable = list_clip_logs(self._folder)
        self.problems = {
            path: why for path, why in self.problems.items() if path in self._seen and os.path.lexists(path)
        }
        self.problems |= unreadable
        for path in (*self._folder.shards.glob("*/*.journal"), *logs):
            for kind, name in self._of_file(path):
                found[kind].add(name)
        return {
            kind: Remark(len(names), tuple(show(name) for name in sorted(names)[:EXAMPLES]))
            for kind, names in found.items()
            if names
        }

    def _of_file(self, path: Path) -> list[tuple[str, str]]:
        with suppress(FileNotFoundError):  # a journal that its writer has removed meanwhile
            try:
                status = path.stat()
                state = (status.st_mtime_ns, status.st_size, status.st_ino)
                seen = self._seen.get(path)
                if seen is None or seen[0] != state:
                    self._seen[path] = (state, [])
                    self.problems.pop(path, None)
                    self._seen[path] = seen = (state, _read(path, self._most_rows))
                return seen[1]
            except FileNotFoundError:
                raise
            except (OSError, DamagedError) as error:
                self.problems[path] = reason(error)
        return []


def _read(path: Path, most_rows: int) -> list[tuple[str, str]]:
    """Kind and clip name of each remark."""
    if path.suffix == ".journal":
        entries = [entry for _, entry in read_journal(path).rows]
    else:
        entries = read_clip_log(path, most_rows, ("clip_name", "short", "repeatable")).to_pylist()
    found = [("short", entry["clip_name"]) for entry in entries if entry["short"]]
    return found + [("not_repeatable", entry["clip_name"]) for entry in entries if not entry["repeatable"]]


def tell_remarks(remarks: Mapping[str, Remark]) -> list[str]:
    """One line for each kind, for example "2 clips are shorter than they say: a.wmv, b.ogv"."""
    lines = []
    for kind, remark in remarks.items():
        text = _TEXTS[kind][remark.clips > 1]
        more = remark.clips - len(remark.examples)
        names = ", ".join(remark.examples) + (f", and {more:,} more" if more else "")
        lines.append(f"{remark.clips:,} clip{'s' if remark.clips > 1 else ''} {text}: {names}")
    return lines
