"""Find out who can write a file or a folder besides its owner, from permissions and access control list."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_ACL = "system.posix_acl_access"
_USER, _OWN_GROUP, _GROUP, _MASK = 0x02, 0x04, 0x08, 0x10
"""Tags of entries (acl(5), linux/posix_acl.h)."""
_WRITE = 0x02
_MOST_LINKS = 40
"""On one path, as Linux has it (path_resolution(7))."""
_HEAD, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
"""Version, and tag, permissions and number of each entry (linux/posix_acl_xattr.h)."""


def make_nothing_for_all() -> None:
    """Prevent this process from creating world-writable files, whatever the user's umask.

    This includes files that libraries create.
    """
    os.umask(os.umask(0o077) | stat.S_IWOTH)


def is_for_all(status: os.stat_result) -> bool:
    """Whether any user can replace the files in it: it is world-writable and lacks the sticky bit."""
    return bool(status.st_mode & stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX


def may_exchange(path: Path, status: os.stat_result) -> str:
    """Return who else can replace files in this folder; see `shared_with`."""
    is_bound = stat.S_ISLNK(status.st_mode) or status.st_mode & stat.S_ISVTX
    return "" if is_bound else shared_with(path, status)


def shared_with(path: Path | int, status: os.stat_result) -> str:
    """Return who else can write it, besides the owner's private group and all users; empty for nobody.

    Parameters
    ----------
    path
        A file or folder, or the descriptor of one; no link.
    status
        Its status.

    Returns
    -------
    str
        Such as ``the group vision``, or ``ada (by its access control list)``.
    """
    if not status.st_mode & stat.S_IWGRP:  # of a file with a list these bits are its mask
        return ""
    entries = list(_entries(path))
    if not entries:
        group = shared_group(status)
        return f"the group {group}" if group else ""
    mask = next((may for tag, may, _ in entries if tag == _MASK), _WRITE)
    for tag, may, number in entries:
        if not may & mask & _WRITE:
            continue
        if tag == _USER and number not in (0, status.st_uid):
            return f"{user_name(number)} (by its access control list)"
        if tag in (_GROUP, _OWN_GROUP):
            group = _shared(status.st_gid if tag == _OWN_GROUP else number, status.st_uid)
            if group:
                return f"the group {group}"
    return ""


def open_to_writers_of(folder: Path, descriptor: int) -> None:
    """Let whoever may write a folder write a file in it, and nobody else read it, where this user may say so.

    Parameters
    ----------
    folder
        Where the file lies.
    descriptor
        Of the file. One of another user is left as it is.
    """
    found, wanted = os.fstat(descriptor), folder.stat()
    mode = 0o660 if wanted.st_mode & stat.S_IWGRP else 0o600
    if found.st_uid != os.geteuid() or (found.st_gid, stat.S_IMODE(found.st_mode)) == (wanted.st_gid, mode):
        return
    with suppress(OSError):  # not a member of that group
        os.fchown(descriptor, wanted.st_uid if os.geteuid() == 0 else -1, wanted.st_gid)
    with suppress(OSError):  # the file system has no permissions, or no lists
        os.fchmod(descriptor, mode)
        os.setxattr(descriptor, _ACL, os.getxattr(folder, _ACL))


def shared_group(status: os.stat_result) -> str:
    """Name of a group that may write it by its permissions, or "" if none may or it is its owner's alone."""
    return _shared(status.st_gid, status.st_uid) if status.st_mode & stat.S_IWGRP else ""


def user_name(number: int) -> str:
    """Name of a user, or its number."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _shared(number: int, owner: int) -> str:
    """Name of a group, or "" if it is the one that many systems make for each user, and nobody else's."""
    try:
        group, name = grp.getgrgid(number), pwd.getpwuid(owner).pw_name
    except KeyError:
        return str(number)
    if group.gr_name != name or set(group.gr_mem) - {name}:
        return group.gr_name
    # Whose first group it is does not stand among its members.
    others = any(user.pw_gid == number and user.pw_name != name for user in pwd.getpwall())
    return group.gr_name if others else ""


def _entries(path: Path | int) -> Iterator[tuple[int, int, int]]:
    """Tag, permissions and number of each entry of its access control list; none where it has no list."""
    try:
        content = os.getxattr(path, _ACL)
    except OSError:  # it has none, or its file system has none
        return
    yield from _ENTRY.iter_unpack(content[_HEAD.size :])


def way_to(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every folder and link on the way to a path, from the root down to what is not there yet."""
    parts = list(path.parts)
    current = Path(parts.pop(0))
    yield current, current.lstat()
    links = 0
    while parts:
        part = parts.pop(0)
        if part == os.pardir:
            current = current.parent
            continue
        found = current / part
        try:
            status = found.lstat()
        except FileNotFoundError:
            return
        yield found, status
        if not stat.S_ISLNK(status.st_mode):
            current = found
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(found))
        target = found.readlink()
        if target.is_absolute():
            current = Path(target.anchor)
        parts = [part for part in target.parts if part != target.anchor] + parts
