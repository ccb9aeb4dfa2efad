"""What the kernel says is mounted, and where."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MOUNTINFO = Path("/proc/self/mountinfo")


def mounts_below(folder: Path) -> list[Path]:
    """Mount points below a folder, the deepest first.

    Only the kernel's list is read, the mounts themselves are not touched: each access to one whose
    server is gone or hangs would fail or hang, too.

    Parameters
    ----------
    folder
        Links in its path are followed.
    """
    prefix = os.path.realpath(folder).encode("utf-8", "surrogateescape") + b"/"
    points = {re.sub(rb"\\([0-7]{3})", _octal, fields[4]) for fields in _mounts(_MOUNTINFO)}
    below = sorted((point for point in points if point.startswith(prefix)), key=len, reverse=True)
    return [Path(os.fsdecode(point)) for point in below]


def file_system(folder: Path, mountinfo: Path = _MOUNTINFO) -> str:
    """Type of the file system that holds an existing folder, such as ``tmpfs``; "" if it is not known."""
    device = folder.stat().st_dev
    wanted = b"%d:%d" % (os.major(device), os.minor(device))
    found = (fields[fields.index(b"-") + 1] for fields in _mounts(mountinfo) if fields[2] == wanted)
    return next(found, b"").decode("ascii", "replace")


def _mounts(mountinfo: Path) -> list[list[bytes]]:
    """Fields of each mount (/proc/PID/mountinfo in proc(5)): the third is the device, the fifth the point;
    the type of the file system comes after a field ``-``.
    """
    try:
        return [line.split(b" ") for line in mountinfo.read_bytes().splitlines()]
    except FileNotFoundError:  # with another error nobody knows what is mounted
        return []


def _octal(found: re.Match[bytes]) -> bytes:
    # Blanks and backslashes of a path are octal numbers in that list.
    return bytes([int(found[1], 8)])
