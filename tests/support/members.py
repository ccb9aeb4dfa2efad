"""A run folder of one user, looked at by another one."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OWNER = "daemon"
"""A user whom every Linux has; what is tested is run as ``nobody``."""
_OWNER, _GROUP, _OTHER = 1, 60_000, 65_534


def hand_over(root: Path, mode: int = 0o770) -> None:
    """Give all files below to `OWNER` and a group, folders and files with these permissions, logs private."""
    for folder, folders, files in os.walk(root):
        for name in [".", *folders, *files]:
            path = Path(folder, name)
            os.chown(path, _OWNER, _GROUP)
            path.chmod(mode | stat.S_ISGID if path.is_dir() else mode & 0o666)
    for logs in root.glob("*/logs"):
        logs.chmod(0o700)


@contextmanager
def as_another(folder: Path, *, member: bool) -> Iterator[None]:
    """As another user, in the group of the files or not; only root can. What is imported must be so already.

    Parameters
    ----------
    folder
        Below pytest's own, which other users may then enter.
    member
        Whether the user belongs to the group.
    """
    own = [folder, *folder.parents[: len(folder.relative_to(Path(tempfile.gettempdir())).parts) - 1]]
    modes = {path: path.stat().st_mode for path in own}
    before = os.getgroups(), os.getegid()
    for path, mode in modes.items():
        path.chmod(mode | 0o011)
    try:
        os.setgroups([_GROUP] if member else [])
        os.setegid(_OTHER)
        os.seteuid(_OTHER)
        yield
    finally:
        os.seteuid(0)
        os.setegid(before[1])
        os.setgroups(before[0])
        for path, mode in modes.items():
            path.chmod(mode)
