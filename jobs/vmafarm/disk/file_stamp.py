"""Whether files are still the ones that were read: another writer may put a new one in a file's place.

DuckDB opens a file by its name several times in one scan. A footer of one version with the bytes of the
next gives an error at best, so whoever scans files by name asks afterwards whether they have stayed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from vmafarm.disk.regular_files import open_regular, read_regular


@dataclass(frozen=True)
class Stamp:
    """What shows that a file is another one, or was written to.

    Attributes
    ----------
    inode
        Its number.
    bytes
        Its size.
    written_ns
        When it was last written, nanoseconds since 1970; copying programs set that to what it was elsewhere.
    changed_ns
        When its content, times, names or permissions last changed, which nobody can set.
    """

    inode: int
    bytes: int
    written_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Of a file with this status."""
        # A file that takes another's place may get its inode, but then not its times.
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Stamps:
    """Remembers files as they are read."""

    def __init__(self) -> None:
        self._stamps: dict[Path, Stamp] = {}

    def read(self, path: Path, look: Callable[[FileIO], object] | None = None) -> bytes:
        """All bytes of a file, which is remembered; `look` sees it first, and may raise. Raises OSError."""

        def remember(file: FileIO) -> None:
            self._stamps[path] = Stamp.of(os.fstat(file.fileno()))
            if look is not None:
                look(file)

        return read_regular(path, look=remember)

    def changed(self) -> list[Path]:
        """Files that are gone, or no longer the ones that were read, in order."""
        return sorted(path for path, stamp in self._stamps.items() if self._now(path) != stamp)

    @staticmethod
    def _now(path: Path) -> Stamp | None:
        # Opened, not looked up: that is when a network file system asks its server again.
        try:
            with open_regular(path) as file:
                return Stamp.of(os.fstat(file.fileno()))
        except OSError:
            return None
