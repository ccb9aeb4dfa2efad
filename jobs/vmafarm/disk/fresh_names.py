"""Folders on network file systems, whose new names other machines see late."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from vmafarm.disk import durable


def look_anew(folder: Path) -> None:
    """Make this machine read the names in a folder from the server again, not from its cache.

    An NFS client keeps a listing for up to 60 s (acdirmax, nfs(5)). It drops the listing when it changes
    the folder itself: so this creates a file and removes it. On a local file system that changes nothing.

    Parameters
    ----------
    folder
        If it is not there or cannot be written, nothing happens.
    """
    probe = folder / f".names.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    with suppress(OSError):
        os.close(durable.system.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        durable.system.unlink(probe)
