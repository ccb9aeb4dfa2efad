"""Drafts that killed processes left behind."""

from __future__ import annotations

import glob
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from vmafarm.disk import durable
from vmafarm.disk.locks import try_lock

ABANDONED_SECONDS = 3600.0
"""Without a lock: a draft at work is written to, or in place, within that."""


_NAME = re.compile(r"\..{1,200}\.\d+\.[0-9a-f]{8}\.tmp", re.DOTALL)
"""As `vmafarm.disk.durable.Draft` names them."""


def is_draft(name: str) -> bool:
    """Whether a file has the name of a draft."""
    return _NAME.fullmatch(name) is not None


def is_abandoned(status: os.stat_result) -> bool:
    """Whether a draft, by its status, has not been written to for so long that nobody is writing it."""
    return time.time() - status.st_mtime > ABANDONED_SECONDS


class LockedDraft(durable.Draft):
    """A draft that `sweep` leaves while it is open.

    Parameters
    ----------
    destination
        Where it is to stand.
    """

    def __init__(self, destination: Path) -> None:
        super().__init__(destination)
        try_lock(self._descriptor)


def sweep(path: Path) -> None:
    """Remove old drafts of a file of which nobody holds the lock.

    Parameters
    ----------
    path
        The file. A draft that is no `LockedDraft` must not be open for that long.
    """
    for left in path.parent.glob(f".{glob.escape(path.name[:200])}.*.tmp"):
        # The same draft may be removed by two at once, and one that cannot be removed harms nobody.
        with suppress(OSError):
            if is_abandoned(left.stat()):
                _remove(left)


def _remove(left: Path) -> None:
    # Its owner may be stopped for longer than that, or by a server's clock that goes otherwise.
    draft = durable.system.open(left, os.O_RDWR | os.O_NOFOLLOW)
    try:
        if try_lock(draft):
            durable.system.unlink(left)
    finally:
        os.close(draft)
