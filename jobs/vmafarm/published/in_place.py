"""Puts files that belong to a table in place only while that table is still there.

A process may be stopped for hours (SIGSTOP, a suspended machine, a node that hangs) and then continue after
another one has published a newer table.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from vmafarm.common.errors import IncompleteError, UsageError, show
from vmafarm.disk.drafts import LockedDraft
from vmafarm.disk.durable import Draft
from vmafarm.disk.file_stamp import Stamp
from vmafarm.disk.locks import open_lock, try_lock
from vmafarm.published.merge_record import read_merge_record
from vmafarm.published.up_to_date import digest_file
from vmafarm.run_folder.paths import RunFolder

ATTEMPTS = 3
"""Times that a process starts again because its table is no longer the one in place."""

PATIENCE_SECONDS = 60.0
"""How long to wait for another process between its look and its rename, which take a moment."""
_PAUSE_SECONDS = 0.05


class SupersededError(IncompleteError):
    """Another table was put in place in the meantime.

    Attributes
    ----------
    is_mixed
        Whether a file that belongs to the earlier table may be beside it now.
    """

    def __init__(self, message: str, hint: str = "", *, is_mixed: bool = False) -> None:
        super().__init__(message, hint)
        self.is_mixed = is_mixed


class InPlace:
    """The table that was in place when this process looked, or that it put there.

    Parameters
    ----------
    folder
        The run; it may have no table.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._table, self._lock = folder.table, folder.merge_lock
        self.look()

    def look(self) -> None:
        """Remember the table that is there now, or that there is none."""
        self._stamp, self._digest = _stamp(self._table), ""

    def require(self, *, is_mixed: bool = False) -> None:
        """Raise SupersededError unless that table is there, or another file with the same bytes."""
        now = _stamp(self._table)
        if now != self._stamp and not (now and self._digest and digest_file(self._table) == self._digest):
            raise _superseded(self._table, is_mixed=is_mixed)
        self._stamp = now

    def publish(self, draft: Draft, digest: str, beside: Sequence[Draft] = ()) -> None:
        """Put a new table in place.

        Parameters
        ----------
        draft
            Finished draft of the table.
        digest
            SHA-256 of its bytes.
        beside
            Finished drafts of files that state this digest. They come first: after a kill in between, readers
            find that they are not of the earlier table, which still has its record.

        Raises
        ------
        SupersededError
            Another table, with other bytes, was put there in the meantime; it stays.
        IncompleteError
            Another process holds the lock and does not continue.
        UnavailableError
            The lock cannot be opened.
        """
        for one in (*beside, draft):
            one.sync()
        with self._alone():
            now, new = _stamp(self._table), _stamp(draft.path)
            if now not in (None, self._stamp) and digest_file(self._table) != digest:
                raise _superseded(self._table)
            for one in (*beside, draft):
                one.publish()
            self._stamp, self._digest = new, digest

    def replace(self, path: Path, write: Callable[[BinaryIO], object]) -> None:
        """As `vmafarm.disk.durable.replace`, for a file that belongs to the table; raises SupersededError."""
        with LockedDraft(path) as draft:
            write(cast(BinaryIO, draft))
            draft.sync()
            with self._alone():
                self.require()
                draft.publish()
        self.require(is_mixed=True)  # where there are no locks, another one may have come between

    def replace_text(self, path: Path, text: str) -> None:
        """`replace` with UTF-8 text."""
        self.replace(path, lambda file: file.write(text.encode()))

    def add_to_record(self, path: Path, **more: Any) -> None:
        """Add keys to the record of the merge, where there is one that can be written.

        Raises
        ------
        SupersededError
            It is that of another table.
        """
        try:
            record = read_merge_record(path)
        except UsageError:  # the next merge replaces it
            return
        if record and os.access(path.parent, os.W_OK, effective_ids=True):
            self.replace_text(path, json.dumps(record | more, indent=1, ensure_ascii=False) + "\n")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Look and rename in one step: no other process does so meanwhile, if the file system has locks."""
        lock = self._open_lock()
        if lock is None:
            yield
            return
        try:
            ends_at = time.monotonic() + PATIENCE_SECONDS
            while not try_lock(lock):
                if time.monotonic() >= ends_at:
                    raise IncompleteError(
                        f"another process has held {show(str(self._lock))} for {PATIENCE_SECONDS:.0f} s "
                        f"while publishing {show(str(self._table))}",
                        "resume it if it is suspended (kill -CONT PID), or end it, then run the same command "
                        "again; the file must stay, for without it an older table could replace a newer one",
                    )
                time.sleep(_PAUSE_SECONDS)
            yield
        finally:
            os.close(lock)

    def _open_lock(self) -> int | None:
        if not os.access(self._lock.parent, os.W_OK, effective_ids=True):
            return None  # a run that can only be read has no lock to take
        return open_lock(self._lock, "while no merge is at work")


def _stamp(path: Path) -> Stamp | None:
    found = Stamp.now(path)
    return found and found.of_content()  # a rename puts the draft in place


def _superseded(table: Path, *, is_mixed: bool = False) -> SupersededError:
    return SupersededError(
        f"another merge published {show(str(table))} while this one was running",
        "wait for the other one, a merge of the same run, to end; then run the same command again",
        is_mixed=is_mixed,
    )
