"""Whether files are still the ones that were read: another writer may put a new one in a file's place.

DuckDB opens a file by its name several times in one scan. A footer of one version with the bytes of the
next gives an error at best, so whoever scans files by name asks afterwards whether they have stayed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from jobs.regular_files import open_regular, read_regular

_Stamp = tuple[int, int, int, int]


def _stamp(descriptor: int) -> _Stamp:
    status = os.fstat(descriptor)
    # A file that takes another's place may get its inode, but then not its times.
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class Stamps:
    """Remembers files as they are read."""

    def __init__(self) -> None:
        self._stamps: dict[Path, _Stamp] = {}

    def read(self, path: Path, look: Callable[[FileIO], object] | None = None) -> bytes:
        """All bytes of a file, which is remembered; `look` sees it first, and may raise. Raises OSError."""

        def remember(file: FileIO) -> None:
            self._stamps[path] = _stamp(file.fileno())
            if look is not None:
                look(file)

        return read_regular(path, look=remember)

    def changed(self) -> list[Path]:
        """Files that are gone, or no longer the ones that were read, in order."""
        return sorted(path for path, stamp in self._stamps.items() if self._now(path) != stamp)

    @staticmethod
    def _now(path: Path) -> _Stamp | None:
        # Opened, not looked up: that is when a network file system asks its server again.
        try:
            with open_regular(path) as file:
                return _stamp(file.fileno())
        except OSError:
            return None
