"""How mounts below a folder go away."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from vmafarm.common.mount_points import mounts_below
from vmafarm.process.run import run

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
