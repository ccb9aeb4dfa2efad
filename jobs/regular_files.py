"""Opening files that somebody else may have put there: regular files only, and no more bytes than expected.

A FIFO makes whoever opens it wait for ever, a device has no end, and a file may grow while it is read.
Everything of a run, and every configuration, is opened here.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 1 << 30
"""Of a file that is read whole: a shard of a million rows has 0.4 GB."""

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFSOCK: "a socket",
}


def open_regular(path: Path, most: int | None = MOST_BYTES) -> BinaryIO:
    """Open a regular file for reading, unbuffered; never waits for another process.

    Parameters
    ----------
    path
        The file, or a link to it.
    most
        Bytes that it may have; None: any number, for those who read it piece by piece.

    Raises
    ------
    OSError
        It cannot be opened, is a FIFO, a device, a socket or a folder (EINVAL), or has too many bytes
        (EFBIG); ``strerror`` says what was found and what was expected.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")
            raise OSError(errno.EINVAL, f"this is {kind}, expected a regular file", str(path))
        if most is not None and status.st_size > most:
            raise _too_large(path, status.st_size, most)
        return open(descriptor, "rb", buffering=0)  # noqa: PTH123 - it is a descriptor
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, most: int = MOST_BYTES) -> bytes:
    """All bytes of a regular file; see `open_regular`."""
    with open_regular(path, most) as file:
        parts, size = [], 0
        while part := file.read(most + 1 - size):
            parts.append(part)
            size += len(part)
            if size > most:  # it grew
                raise _too_large(path, size, most)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_regular_text(path: Path, most: int = MOST_BYTES) -> str:
    """All of a regular file of UTF-8 text; see `open_regular`. Raises UnicodeDecodeError too."""
    return read_regular(path, most).decode()


def _too_large(path: Path, size: int, most: int) -> OSError:
    return OSError(errno.EFBIG, f"{size:,} bytes, expected at most {most:,}", str(path))
