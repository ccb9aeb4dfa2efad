"""Locks on open files, which the kernel releases whatever happens to their owner."""

from __future__ import annotations

import fcntl


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file, without a wait; it is held until the file is closed.

    Parameters
    ----------
    descriptor
        Of a file that is open for writing, too: NFS asks for that.

    Returns
    -------
    bool
        False: another one holds it. Where the file system has no locks, everybody gets them.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
