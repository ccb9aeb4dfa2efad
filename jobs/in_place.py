"""What belongs to a table: is put in place only while that table is still there.

A process may be stopped for hours (SIGSTOP, a suspended machine, a node that hangs) and then go on where it
was, when another one has long published a newer table.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from jobs.durable import Draft
from jobs.errors import IncompleteError, show
from jobs.regular_files import open_regular
from jobs.up_to_date import digest_file

ATTEMPTS = 3
"""So often a process begins anew whose table is no longer the one in place."""

_Stamp = tuple[int, int, int, int]


class SupersededError(IncompleteError):
    """Another table was put in place meanwhile.

    Attributes
    ----------
    is_mixed
        Whether something that belongs to the table before may stand beside it now.
    """

    def __init__(self, message: str, hint: str = "", *, is_mixed: bool = False) -> None:
        super().__init__(message, hint)
        self.is_mixed = is_mixed


class InPlace:
    """The table that was in place when this process looked, or that it has put there.

    Parameters
    ----------
    table
        Where it is; there may be none.
    """

    def __init__(self, table: Path) -> None:
        self._table = table
        self.look()

    def look(self) -> None:
        """Take the table that is there now, or that there is none, for the one that matters."""
        self._stamp, self._digest = _stamp(self._table), ""

    def require(self, *, is_mixed: bool = False) -> None:
        """Raise SupersededError unless that table is there, or another file with the same bytes."""
        now = _stamp(self._table)
        if now != self._stamp and not (now and self._digest and digest_file(self._table) == self._digest):
            raise _superseded(self._table, is_mixed=is_mixed)
        self._stamp = now

    def publish(self, draft: Draft, digest: str) -> None:
        """Put a new table in place.

        Parameters
        ----------
        draft
            Of the table; finished.
        digest
            SHA-256 of its bytes.

        Raises
        ------
        SupersededError
            Another one, with other bytes, has been put there meanwhile; it stays.
        """
        draft.sync()
        now, new = _stamp(self._table), _stamp(draft.path)
        if now not in (None, self._stamp) and digest_file(self._table) != digest:
            raise _superseded(self._table)
        draft.publish()
        self._stamp, self._digest = new, digest

    def replace(self, path: Path, write: Callable[[BinaryIO], object]) -> None:
        """As `jobs.durable.replace`, of a file that belongs to the table; raises SupersededError too."""
        with Draft(path) as draft:
            write(cast(BinaryIO, draft))
            draft.sync()
            self.require()
            draft.publish()
        self.require(is_mixed=True)

    def replace_text(self, path: Path, text: str) -> None:
        """`replace` with UTF-8 text."""
        self.replace(path, lambda file: file.write(text.encode()))


def _stamp(path: Path) -> _Stamp | None:
    # Opened, not looked up: that is when a network file system asks its server again.
    try:
        with open_regular(path, None) as file:
            status = os.fstat(file.fileno())
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _superseded(table: Path, *, is_mixed: bool = False) -> SupersededError:
    return SupersededError(
        f"another process puts its table in place of {show(str(table))} while this one is at work",
        "wait for the other one, a merge of the same run, to end; then run the same command again",
        is_mixed=is_mixed,
    )
