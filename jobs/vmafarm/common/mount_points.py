"""Mount points below a folder."""

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
