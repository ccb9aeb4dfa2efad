"""Mounts below a folder: which there are, and how they go away."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from vmafarm.process.run import run

_MOUNTINFO = Path("/proc/self/mountinfo")
_SECONDS = 20.0
_COMMANDS = (
    ("fusermount3", "-u"),
    ("fusermount", "-u"),
    ("umount",),  # root, where there is no fusermount
    ("fusermount3", "-u", "-z"),
    ("fusermount", "-u", "-z"),
    ("umount", "-l"),
)
"""Tried one after the other: first in order, then lazily, which works while files are open."""


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
    try:
        lines = _MOUNTINFO.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    points = (re.sub(rb"\\([0-7]{3})", _octal, line.split(b" ")[4]) for line in lines)
    below = sorted({point for point in points if point.startswith(prefix)}, key=len, reverse=True)
    return [Path(os.fsdecode(point)) for point in below]


def _octal(found: re.Match[bytes]) -> bytes:
    # Blanks and backslashes of a path are octal numbers in that list.
    return bytes([int(found[1], 8)])


def unmount_below(folder: Path) -> bool:
    """Unmount everything below a folder; whether nothing is left.

    Parameters
    ----------
    folder
        A folder of our own, so that every mount in it is.
    """
    for command in _COMMANDS:
        points = mounts_below(folder)
        if not points:
            return True
        for point in points:
            with suppress(OSError):  # there is no such program
                run([[*command, str(point)]], folder=Path("/"), deadline=_SECONDS)
    return not mounts_below(folder)
