"""Check which other users could change a run's rows, or the programs that its jobs run.

Those programs are in ``runs/<run>/logs``. That folder is private to this user (0700), and no other user may
be able to replace it: anyone who owns a folder above it, or can write to one, could rename it.
"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.disk.durable import make_folder
from vmafarm.disk.writers import is_for_all, may_exchange, shared_with, user_name, way_to
from vmafarm.run_folder.paths import RunFolder

_PERMISSIONS = 0o777


def check_run_folders(folder: RunFolder, trusted: Collection[str] = ()) -> list[str]:
    """Check which other users could change what a run starts; writes nothing.

    Parameters
    ----------
    folder
        The run; folders that do not exist yet are skipped.
    trusted
        Names of users besides root and this one who may own folders above the run.

    Returns
    -------
    list of str
        At most one warning: others can write to a folder of the run or above it, as in a project space
        (setgid, 2770).

    Raises
    ------
    UsageError
        A folder of the run or above it is world-writable, or a folder on the path to the run belongs to
        another user.
    UnavailableError
        A folder above cannot be entered.
    """
    way = folder.path.absolute()
    require_own_way(way, trusted)
    above = [part for part, status in way_to(way) if not stat.S_ISLNK(status.st_mode)]
    return _warn_of_writers(above) or check_writers(folder)


def check_writers(folder: RunFolder) -> list[str]:
    """Check which other users can write the rows; other users may own them. See `check_run_folders`."""
    below = [path for path in _folders_below(folder.path) if path != folder.logs]  # closed by `secure_logs`
    for path in (folder.root, folder.path, *below):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        require_not_for_all(path, status)
    return _warn_of_writers([folder.root, folder.path, *below])


def _warn_of_writers(folders: Sequence[Path]) -> list[str]:
    """Return a warning about the first of these folders in which others can replace files."""
    for path in folders:
        with suppress(FileNotFoundError):
            status = path.stat()
            if who := may_exchange(path, status):
                line = f"{show(str(path))} is also writable by {show(who)}"
                return [f"warning: {line}: they could change rows, and the programs that elements run"]
    return []


def others_on_the_way(path: Path, trusted: Collection[str] = ()) -> str:
    """Find another user who could replace a file or folder.

    Parameters
    ----------
    path
        Absolute.
    trusted
        As for `check_run_folders`.

    Returns
    -------
    str
        For example ``/scratch/vision is also writable by the group vision``; empty if nobody can.
    """
    for part, status in way_to(path):
        owned = is_trusted(status.st_uid, trusted)
        if who := may_exchange(part, status) if owned else user_name(status.st_uid):
            return f"{show(str(part))} is also writable by {show(who)}"
    return ""


def check_image_way(image: Path, trusted: Collection[str] = ()) -> list[str]:
    """Check which other users could change an image that elements run.

    Parameters
    ----------
    image, trusted
        As for `others_on_the_way`.

    Returns
    -------
    list of str
        At most one warning, about a group or another user.

    Raises
    ------
    UsageError
        The image or a folder above it is world-writable.
    """
    for part, status in way_to(image):
        if not stat.S_ISLNK(status.st_mode):
            require_not_for_all(part, status)
    others = others_on_the_way(image, trusted)
    return [f"warning: {others}: they could change the image that elements run"] if others else []


def _folders_below(run: Path) -> Iterator[Path]:
    """Yield the folders in a run and their subfolders; there are no deeper ones."""
    for level in ("*", "*/*"):
        yield from (path for path in sorted(run.glob(f"{level}/")) if not path.is_symlink())


def require_own_way(path: Path, trusted: Collection[str]) -> None:
    """Refuse a path on which another user could replace a folder or a link, as sshd does for its keys."""
    for part, status in way_to(path):
        shown = show(str(part))
        if not is_trusted(status.st_uid, trusted):
            owner = show(user_name(status.st_uid))
            raise UsageError(
                f"{shown} belongs to {owner}, who could replace it, and so choose what elements run; "
                f"expected {show(user_name(os.geteuid()))} or root",
                "choose another run.root; or, if you trust that user with your account: "
                f'run.trusted_owners = ["{owner}"]',
            )
        if not stat.S_ISLNK(status.st_mode):
            require_not_for_all(part, status)


def is_trusted(owner: int, trusted: Collection[str]) -> bool:
    """Whether a user is trusted with what elements run: this user, root, or in ``run.trusted_owners``."""
    return owner in (0, os.geteuid(), _nobody_mapped()) or user_name(owner) in trusted


@functools.cache
def _nobody_mapped() -> int:
    """User ID that a user namespace shows for root and others that it does not map; -1 outside of one.

    An unprivileged container maps only the user who starts it (user_namespaces(7)).
    """
    try:
        maps = Path("/proc/self/uid_map").read_text(encoding="utf-8").split()
        return -1 if int(maps[2]) > _ALL_USERS else int(Path("/proc/sys/kernel/overflowuid").read_bytes())
    except (OSError, ValueError, IndexError):
        return -1


_ALL_USERS = 1 << 31
"""The initial namespace maps 2^32 - 1 users, a container at most those in /etc/subuid."""


def require_not_for_all(path: Path, status: os.stat_result) -> None:
    """Refuse a world-writable file or folder, unless it has the sticky bit (/tmp).

    Raises
    ------
    UsageError
        Any user could change what is there.
    """
    if is_for_all(status):
        raise UsageError(
            f"{show(str(path))} is world-writable: any user of this machine could change rows, "
            "and the programs that elements run",
            f"chmod o-w {show(str(path))}, or choose another place",
        )


def require_own(path: Path, named: os.stat_result, opened: os.stat_result) -> None:
    """Refuse a file found by default, unless this user or root owns it and nobody else can write it.

    A configuration names the programs to run.

    Parameters
    ----------
    path
        Where it was found.
    named
        Status of the path itself; if it is a link, that of the link.
    opened
        Status of the file.

    Raises
    ------
    UsageError
        The file or the link belongs to another user, or others can write the file.
    """
    take = f"check its content; to use it anyway: --config {show(str(path))} (with make: CONFIG=...)"
    for status in (named, opened):
        if status.st_uid not in (os.geteuid(), 0):
            owner = show(user_name(status.st_uid))
            raise UsageError(
                f"{show(str(path))} belongs to {owner}, expected a file of your own: "
                "it names the programs to run",
                take,
            )
    who = "everybody" if opened.st_mode & stat.S_IWOTH else shared_with(path, opened)
    if who:
        raise UsageError(
            f"{show(str(path))} is writable by {show(who)}, expected only by you: it names the programs "
            "to run",
            f"chmod go-w {show(str(path))}; or {take}",
        )


def secure_logs(folder: RunFolder, trusted: Collection[str] = ()) -> None:
    """Create the folder of the programs that jobs run, or check that only this user can write to it.

    Called before anything is queued or started.

    Parameters
    ----------
    folder, trusted
        As for `check_run_folders`.

    Raises
    ------
    UsageError
        It is a link, belongs to another user or holds files of one; or see `check_run_folders`.
    UnavailableError
        It cannot be created, or its file system ignores permissions.
    """
    check_run_folders(folder, trusted)
    logs, shown = folder.logs, show(str(folder.logs))
    elsewhere = f"move it away (mv {shown} {shown}.old), or choose another run.root; it holds no rows"
    if not logs.is_symlink():  # make_folder would fail on a dangling link
        make_folder(logs)
    status = logs.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise UsageError(
            f"{shown} is a link or a file, expected a folder of your own: elements run what is in it",
            elsewhere,
        )
    if status.st_uid != os.geteuid():
        raise UsageError(
            f"{shown} belongs to {show(user_name(status.st_uid))}, expected {show(user_name(os.geteuid()))}: "
            "elements run what is in it",
            elsewhere,
        )
    if status.st_mode & _PERMISSIONS != stat.S_IRWXU:
        _close(logs)
        # While it was open, somebody may have added a file, or a link to one of ours.
    with os.scandir(logs) as entries:
        for entry in entries:
            if (owner := entry.stat(follow_symlinks=False).st_uid) != os.geteuid():
                raise UsageError(
                    f"{shown} holds a file of {show(user_name(owner))}: {show(entry.name)}; "
                    "elements run what is in this folder",
                    f"find out how it got there; then {elsewhere}",
                )


def _close(logs: Path) -> None:
    try:
        logs.chmod(0o700)
    except OSError as error:
        raise UnavailableError(
            f"cannot make {show(str(logs))} private (0700): {error.strerror}", "choose another run.root"
        ) from None
    mode = logs.lstat().st_mode & _PERMISSIONS
    if mode != stat.S_IRWXU:
        raise UnavailableError(
            f"{show(str(logs))} stays at {mode:04o}, expected 0700: its file system ignores permissions, "
            "and elements would run what others put there",
            "choose a run.root on another file system",
        )
