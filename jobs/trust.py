"""Who else could change what this user runs: folders of runs, and the pickles in them.

A pickle runs whatever its writer wanted. submitit's lie in ``runs/<run>/logs``, so that folder is
this user's alone (0700), and nobody else may put another one in its place.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

from jobs.durable import make_folder
from jobs.errors import UnavailableError, UsageError, show
from jobs.run_folder import RunFolder

_PERMISSIONS = 0o777


def check_run_folders(folder: RunFolder) -> list[str]:
    """Look who else may write where a run lies. Writes nothing.

    Parameters
    ----------
    folder
        The run; folders that are not there yet are passed over.

    Returns
    -------
    list of str
        At most one line: that a group may write there, as in a project space (setgid, 2770), or that
        everybody may write a folder above.

    Raises
    ------
    UsageError
        Everybody may write the run folder or the folder of runs.
    """
    shared = []
    for path in (folder.path, folder.root):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        require_not_for_all(path, status)
        if group := shared_group(status):
            shared.append(f"{show(str(path))} can be written by everybody in the group {show(group)} too")
    open_above = [path for path in folder.root.resolve().parents if is_for_all(path.stat())]
    if open_above:
        shared.append(f"everybody on this machine may write {show(str(open_above[0]))}, above the runs")
    return [f"warning: {shared[0]}: they could change rows, and what elements run"] if shared else []


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
            f"chmod o-w {show(str(path))}, or another run.root",
        )


def is_for_all(status: os.stat_result) -> bool:
    """Whether everybody may put another file in the place of one that lies there."""
    return bool(status.st_mode & stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX


def shared_group(status: os.stat_result) -> str:
    """Name of a group that may write a folder, or "" if none may or it is its owner's alone."""
    if not status.st_mode & stat.S_IWGRP:
        return ""
    try:
        group = grp.getgrgid(status.st_gid)
        owner = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        return str(status.st_gid)
    return "" if group.gr_name == owner and not set(group.gr_mem) - {owner} else group.gr_name


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
            raise UsageError(
                f"{show(str(path))} belongs to {show(_user(status.st_uid))}, expected a file of your own: "
                "it names the programs that are run",
                take,
            )
    if opened.st_mode & stat.S_IWOTH or shared_group(opened):
        who = "everybody" if opened.st_mode & stat.S_IWOTH else f"the group {show(shared_group(opened))}"
        raise UsageError(
            f"{show(str(path))} can be written by {who}, expected by you alone: it names the programs "
            "that are run",
            f"chmod go-w {show(str(path))}; or {take}",
        )


def secure_logs(folder: RunFolder) -> None:
    """Make the folder of the pickles, or make sure that what lies in it is this user's alone.

    Called before anything is queued or started, and before a result is read.

    Parameters
    ----------
    folder
        The run.

    Raises
    ------
    UsageError
        It is a link, another user's, holds files of another user, or everybody may write above it.
    UnavailableError
        It cannot be made, or its file system takes no permissions.
    """
    check_run_folders(folder)
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
            f"{shown} belongs to {show(_user(status.st_uid))}, expected {show(_user(os.geteuid()))}: "
            "elements run what lies in it",
            elsewhere,
        )
    if status.st_mode & _PERMISSIONS != stat.S_IRWXU:
        _close(logs)
        # While it was open, somebody may have put a pickle there for us.
    with os.scandir(logs) as entries:
        for entry in entries:
            if (owner := entry.stat(follow_symlinks=False).st_uid) != os.geteuid():
                raise UsageError(
                    f"{shown} holds a file of {show(_user(owner))}: {show(entry.name)}; all there is run",
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


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
