"""A folder that is held open: what is looked at, read and removed in it stays in it, wherever its path leads.

Somebody else who may write the folder above could put a link, or another folder, in its place at any moment.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from vmafarm.disk import durable
from vmafarm.disk.file_stamp import Stamp
from vmafarm.disk.regular_files import NEVER_WAIT, require_regular


class HeldFolder:
    """An open folder; a context manager.

    Parameters
    ----------
    path
        The folder.
    may_be_link
        Whether the path may be a link to a folder. Links among the folders above are followed in any case.

    Raises
    ------
    OSError
        There is none, it is a link, or it cannot be read.
    """

    def __init__(self, path: Path, *, may_be_link: bool = False) -> None:
        self.path = path
        flags = os.O_RDONLY | os.O_DIRECTORY | (0 if may_be_link else os.O_NOFOLLOW)
        self._descriptor = durable.system.open(path, flags)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        os.close(self._descriptor)

    def entries(self) -> dict[str, os.stat_result]:
        """Status of everything in it by name, in order; of a link that of the link itself."""
        found = {}
        for name in sorted(os.listdir(self._descriptor)):  # noqa: PTH208 - it has a descriptor, not a path
            with suppress(FileNotFoundError):  # gone meanwhile
                found[name] = self._status(name)
        return found

    def file(self, name: str) -> FileIO:
        """Open a regular file in it for reading; raises OSError for a link or anything else."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | NEVER_WAIT
        descriptor = os.open(name, flags, dir_fd=self._descriptor)
        try:
            require_regular(descriptor, self.path / name)
            return open(descriptor, "rb", buffering=0)  # noqa: PTH123 - it is a descriptor
        except BaseException:
            os.close(descriptor)
            raise

    def remove(self, name: str, stamp: Stamp) -> bool:
        """Remove a file if it is still the one with this stamp; a power loss may bring it back.

        Returns
        -------
        bool
            Whether it is gone; false where it has changed, or is another one.
        """
        try:
            if Stamp.of(self._status(name)) != stamp:
                return False
        except FileNotFoundError:
            return True
        self._take_away(name, durable.system.unlink)
        return True

    def remove_folder(self, name: str) -> None:
        """Remove a folder in it; raises OSError unless it is an empty folder."""
        self._take_away(name, durable.system.rmdir)

    def _status(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)

    def _take_away(self, name: str, call: Callable[[Path], None]) -> None:
        # This path leads to the open folder itself, and to no other one (proc(5)).
        call(Path(f"/proc/self/fd/{self._descriptor}") / name)
