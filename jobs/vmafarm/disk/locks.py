"""Locks on open files, which the kernel releases whatever happens to their owner."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmafarm.common.errors import DISK, UnavailableError, VmafarmError, reason, show, to_do
from vmafarm.disk import durable
from vmafarm.disk.writers import open_to_writers_of

_PASSING = (*DISK, errno.EMFILE, errno.ENFILE)


def try_lock(descriptor: int, *, without_locks: bool = True) -> bool:
    """Take the lock of an open file without waiting; it is held until the file is closed.

    Parameters
    ----------
    descriptor
        Of a file that is open for writing, which NFS requires.
    without_locks
        What to return where the file system has no locks.

    Returns
    -------
    bool
        False: another process holds it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return without_locks
    return True


def open_lock(path: Path, idle: str) -> int:
    """Open a lock file of a run for `try_lock`; only those who may write the run folder can open it.

    Parameters
    ----------
    path, idle
        As for `locked`.

    Returns
    -------
    int
        Its descriptor.

    Raises
    ------
    UnavailableError
        It cannot be opened.
    """
    try:
        # Who else may write the folder could lead it to a file of this user, which others must not get.
        lock = durable.system.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    except OSError as error:
        raise UnavailableError(
            f"{show(str(path))} cannot be opened: {reason(error)}",
            to_do(error.errno) if error.errno in _PASSING else f"move it away {idle}",
        ) from None
    open_to_writers_of(path.parent, lock)  # who may only read the run could hold it, too
    return lock


@contextmanager
def locked(path: Path, busy: VmafarmError, idle: str) -> Iterator[None]:
    """Hold the lock of a file of a run; fails at once where another process holds it.

    Parameters
    ----------
    path
        The file, in a writable folder; created where it does not exist, and never removed.
    busy
        Raised where another process holds it.
    idle
        When the file may be moved away, for a message: "while ... ".

    Raises
    ------
    UnavailableError
        It cannot be opened.
    """
    lock = open_lock(path, idle)
    try:
        if not try_lock(lock):
            raise busy
        yield
    finally:
        os.close(lock)
