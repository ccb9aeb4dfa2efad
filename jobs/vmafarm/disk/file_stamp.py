"""Whether a file has changed since it was read: the one way to tell.

Another writer may put a new file in its place. DuckDB opens a file by its name several times in one scan: a
footer of one version with the bytes of the next gives an error at best, so whoever scans files by name checks
afterwards that they are still the same ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Generic, TypeVar

from vmafarm.common.errors import reason
from vmafarm.disk.regular_files import open_regular, read_regular

T = TypeVar("T")


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
        """The stamp of a file with this status."""
        # A file that takes another's place may get its inode, but then not its times.
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    @classmethod
    def now(cls, path: Path) -> Stamp | None:
        """The stamp of the file that is there now, links followed; None: there is none, or none to read."""
        # Opened, not looked up: that is when a network file system asks its server again.
        try:
            try:
                with open_regular(path, None) as file:
                    return cls.of(os.fstat(file.fileno()))
            except PermissionError:  # of another member of a group
                return cls.of(path.stat())
        except OSError:
            return None

    def of_content(self) -> Stamp:
        """The same without `changed_ns`, which a rename, a chmod and a new hard link set, too."""
        return replace(self, changed_ns=0)


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

    def of(self, path: Path) -> Stamp | None:
        """The stamp of a file as it was read; None: it was not."""
        return self._stamps.get(path)

    def changed(self) -> list[Path]:
        """Files that are gone, or no longer the ones that were read, in order."""
        return sorted(path for path, stamp in self._stamps.items() if Stamp.now(path) != stamp)


class ReadOnce(Generic[T]):
    """Reads files for those who ask again and again: a file that has not changed is read once.

    Parameters
    ----------
    read
        Reads a file. It may raise OSError or any of `errors`, then the file has no content.
    errors
        See `read`.

    Attributes
    ----------
    problems
        Files that could not be read, with the reason; `read` may add some.
    """

    def __init__(self, read: Callable[[Path], T], *errors: type[Exception]) -> None:
        self.problems: dict[Path, str] = {}
        self._read = read
        self._errors: tuple[type[Exception], ...] = (OSError, *errors)
        self._seen: dict[Path, tuple[Stamp, T | None]] = {}

    def get(self, path: Path) -> T | None:
        """Content of a file; None if it is gone or cannot be read."""
        try:
            # Taken before the content: what is appended meanwhile makes the file another one next time.
            stamp = Stamp.of(path.stat())
            seen = self._seen.get(path)
            if seen is None or seen[0] != stamp:
                self.problems.pop(path, None)
                self._seen[path] = stamp, None
                self._seen[path] = seen = stamp, self._read(path)
            return seen[1]
        except FileNotFoundError:  # a journal that its writer has removed
            self._seen.pop(path, None)
        except self._errors as error:
            self.problems[path] = reason(error)
        return None

    def forget_removed(self) -> None:
        """Forget problems of files that are no longer there."""
        self.problems = {path: why for path, why in self.problems.items() if os.path.lexists(path)}
