"""Who else could change what this user runs, and the rows: folders of runs, and those above them.

What jobs start with lies in ``runs/<run>/logs``, so that folder is this user's alone (0700), and nobody else
may put another one in its place: whoever owns a folder above it, or may write there, could rename it.
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
    """Look who else could change what a run starts. Writes nothing.

    Parameters
    ----------
    folder
        The run; folders that are not there yet are passed over.
    trusted
        Names of users besides root and this one who may own folders above the run.

    Returns
    -------
    list of str
        At most one line: that others may write there or above, as in a project space (setgid, 2770).

    Raises
    ------
    UsageError
        Everybody may write a folder of the run or one above it, or such a folder is another user's.
    UnavailableError
        A folder above cannot be entered.
    """
    way = folder.path.absolute()
    require_own_way(way, trusted)
    above = [part for part, status in way_to(way) if not stat.S_ISLNK(status.st_mode)]
    return _warn_of_writers(above) or check_writers(folder)


def check_writers(folder: RunFolder) -> list[str]:
    """Look who else may write the rows of a run, which need not be this user's; see `check_run_folders`."""
    below = [path for path in _folders_below(folder.path) if path != folder.logs]  # closed by `secure_logs`
    for path in (folder.root, folder.path, *below):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        require_not_for_all(path, status)
    return _warn_of_writers([folder.root, folder.path, *below])


def _warn_of_writers(folders: Sequence[Path]) -> list[str]:
    """A warning of the first of these folders that others may write, where they may move what lies there."""
    for path in folders:
        with suppress(FileNotFoundError):
            status = path.stat()
            if who := may_exchange(path, status):
                line = f"{show(str(path))} can be written by {show(who)} too"
                return [f"warning: {line}: they could change rows, and what elements run"]
    return []


def others_on_the_way(path: Path, trusted: Collection[str] = ()) -> str:
    """Say who else could put another file or folder in the place of this one.

    Parameters
    ----------
    path
        Absolute.
    trusted
        As for `check_run_folders`.

    Returns
    -------
    str
        Such as ``/scratch/vision can be written by the group vision too``; "" for nobody.
    """
    for part, status in way_to(path):
        owned = is_trusted(status.st_uid, trusted)
        if who := may_exchange(part, status) if owned else user_name(status.st_uid):
            return f"{show(str(part))} can be written by {show(who)} too"
    return ""


def check_image_way(image: Path, trusted: Collection[str] = ()) -> list[str]:
    """Look who else could change an image that elements run.

    Parameters
    ----------
    image, trusted
        As for `others_on_the_way`.

    Returns
    -------
    list of str
        At most one line, of a group or another user.

    Raises
    ------
    UsageError
        Everybody may write it, or a folder above it.
    """
    for part, status in way_to(image):
        if not stat.S_ISLNK(status.st_mode):
            require_not_for_all(part, status)
    others = others_on_the_way(image, trusted)
    return [f"warning: {others}: they could change the image that elements run"] if others else []


def _folders_below(run: Path) -> Iterator[Path]:
    """Folders of a run and the folders in them: there is nothing deeper."""
    for level in ("*", "*/*"):
        yield from (path for path in sorted(run.glob(f"{level}/")) if not path.is_symlink())


def require_own_way(path: Path, trusted: Collection[str]) -> None:
    """Refuse a path on which another user could exchange a folder or a link, as sshd does for its keys."""
    for part, status in way_to(path):
        shown = show(str(part))
        if not is_trusted(status.st_uid, trusted):
            owner = show(user_name(status.st_uid))
            raise UsageError(
                f"{shown} belongs to {owner}, who could put another folder in its place and have elements "
                f"run what lies there; expected {show(user_name(os.geteuid()))} or root",
                "choose another run.root; or, where you trust that user with all that is yours: "
                f'run.trusted_owners = ["{owner}"]',
            )
        if not stat.S_ISLNK(status.st_mode):
            require_not_for_all(part, status)


def is_trusted(owner: int, trusted: Collection[str]) -> bool:
    """Whether a user may change what this one runs: itself, root, or a name in ``run.trusted_owners``."""
    return owner in (0, os.geteuid(), _nobody_mapped()) or user_name(owner) in trusted


@functools.cache
def _nobody_mapped() -> int:
    """As whom a user namespace shows root and all others that it does not map; -1 outside of one.

    Who starts a container without privileges is the only user there (user_namespaces(7)).
    """
    try:
        maps = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
        return -1 if int(maps[2]) > _ALL_USERS else int(Path("/proc/sys/kernel/overflowuid").read_bytes())
    except (OSError, ValueError, IndexError):
        return -1


_ALL_USERS = 1 << 31
"""The initial namespace maps 2^32 - 1 users; a container at most as many as /etc/subuid gives."""


def require_not_for_all(path: Path, status: os.stat_result) -> None:
    """Refuse a folder that everybody may write, unless only a file's owner may move it (/tmp).

    Raises
    ------
    UsageError
        Anybody could change what lies there.
    """
    if is_for_all(status):
        raise UsageError(
            f"everybody on this machine may write {show(str(path))}: anybody could change rows, "
            "and what elements run",
            f"chmod o-w {show(str(path))}, or choose another place",
        )


def require_own(path: Path, named: os.stat_result, opened: os.stat_result) -> None:
    """Refuse a file that nobody named, unless it is this user's own or root's, and no other may write it.

    A configuration names the programs that are run.

    Parameters
    ----------
    path
        Where it was looked for.
    named
        Status of what lies there; a link counts as its owner's.
    opened
        Status of the file itself.

    Raises
    ------
    UsageError
        It is another user's, a link of another user's, or others may write it.
    """
    take = f"look at it; to use it all the same: --config {show(str(path))} (with make: CONFIG=...)"
    for status in (named, opened):
        if status.st_uid not in (os.geteuid(), 0):
            owner = show(user_name(status.st_uid))
            raise UsageError(
                f"{show(str(path))} belongs to {owner}, expected a file of your own: "
                "it names the programs that are run",
                take,
            )
    who = "everybody" if opened.st_mode & stat.S_IWOTH else shared_with(path, opened)
    if who:
        raise UsageError(
            f"{show(str(path))} can be written by {show(who)}, expected by you alone: it names the programs "
            "that are run",
            f"chmod go-w {show(str(path))}; or {take}",
        )


def secure_logs(folder: RunFolder, trusted: Collection[str] = ()) -> None:
    """Make the folder of what jobs start with, or make sure that what lies in it is this user's alone.

    Called before anything is queued or started.

    Parameters
    ----------
    folder, trusted
        As for `check_run_folders`.

    Raises
    ------
    UsageError
        It is a link, another user's, or holds files of another user; or see `check_run_folders`.
    UnavailableError
        It cannot be made, or its file system takes no permissions.
    """
    check_run_folders(folder, trusted)
    logs, shown = folder.logs, show(str(folder.logs))
    elsewhere = f"move it away (mv {shown} {shown}.old), or choose another run.root; rows are not there"
    if not logs.is_symlink():  # a link that leads nowhere would be in the way of the folder
        make_folder(logs)
    status = logs.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise UsageError(
            f"{shown} is a link or a file, expected a folder of your own: elements run what lies in it",
            elsewhere,
        )
    if status.st_uid != os.geteuid():
        raise UsageError(
            f"{shown} belongs to {show(user_name(status.st_uid))}, expected {show(user_name(os.geteuid()))}: "
            "elements run what lies in it",
            elsewhere,
        )
    if status.st_mode & _PERMISSIONS != stat.S_IRWXU:
        _close(logs)
        # While it was open, somebody may have put a file there, or a link to one of ours.
    with os.scandir(logs) as entries:
        for entry in entries:
            if (owner := entry.stat(follow_symlinks=False).st_uid) != os.geteuid():
                raise UsageError(
                    f"{shown} holds a file of {show(user_name(owner))}: {show(entry.name)}; all there is run",
                    f"find out how it came there; then {elsewhere}",
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
            f"{show(str(logs))} stays at {mode:04o}, expected 0700: its file system has no permissions, "
            "and elements run what others put there",
            "choose a run.root on another file system",
        )
