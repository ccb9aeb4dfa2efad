"""The scratch folder of an element: private, and removed however the element ends."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from vmafarm.common.errors import UnavailableError, show, to_do
from vmafarm.common.interrupts import hold, release
from vmafarm.disk.locks import try_lock
from vmafarm.disk.regular_files import NEVER_WAIT
from vmafarm.disk.writers import is_for_all, way_to

_PREFIX = "vmafarm-"
_LOCK = ".lock"
_YOUNG_SECONDS = 60.0
_HINT = "choose another one: extract.scratch, or TMPDIR"


@contextlib.contextmanager
def scratch_folder(parent: str) -> Iterator[Path]:
    """Create a private folder (0700), and remove it at the end.

    It first removes folders that killed elements left in the same place. An element locks its folder while it
    lives, and the kernel releases the lock however it ends.

    Parameters
    ----------
    parent
        Where to create it; empty: ``$TMPDIR`` or ``/tmp``.

    Raises
    ------
    UnavailableError
        The place cannot be written, or any user could replace the folder.
    """
    place = scratch_place(parent)
    with in_scratch(place):
        _require_not_for_all(place)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        hold(folder)
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            folder.rmdir()
            release(folder)
            raise
    try:
        try_lock(lock)
        _sweep(place, folder)
        yield folder
    finally:
        _remove(folder)
        release(folder)
        os.close(lock)


@contextlib.contextmanager
def in_scratch(folder: Path) -> Iterator[None]:
    """Turn a system error in a scratch folder into an UnavailableError that names the folder.

    Parameters
    ----------
    folder
        A folder from `scratch_folder`, or the one in which it creates them.
    """
    try:
        yield
    except OSError as error:
        raise scratch_error(folder, error.errno or 0, error.strerror or str(error)) from None


def scratch_error(folder: Path, number: int, reason: str) -> UnavailableError:
    """Describe what is wrong with a scratch folder.

    Parameters
    ----------
    folder
        As for `in_scratch`.
    number, reason
        Number and text of the system error.
    """
    is_private = folder.name.startswith(_PREFIX)
    if is_private and number == errno.ENOENT and not os.path.lexists(folder.parent):
        return UnavailableError(f"the scratch folder {show(str(folder.parent))} is gone", _HINT)
    if number in (errno.ENOENT, errno.ENOTDIR):
        what = "was removed while in use" if is_private else "is not there"
        what = "is not a folder" if number == errno.ENOTDIR else what
        return UnavailableError(f"the scratch folder {show(str(folder))} {what}", _HINT)
    place = folder.parent if is_private else folder
    shown = show(str(place))
    if number in (errno.ENOSPC, errno.EDQUOT):
        what = "has no space left"
        with contextlib.suppress(OSError):
            found = os.statvfs(place)
            if found.f_files and not found.f_favail:
                what = "has no inodes left (df -i): it holds too many files"
        if number == errno.EDQUOT:
            what = "is above this user's quota"
        return UnavailableError(f"the scratch folder {shown} {what}", f"free space there, or {_HINT}")
    remedy = f"{to_do(number)}, or {_HINT}" if number in (errno.EFBIG, errno.EIO) else _HINT
    return UnavailableError(f"the scratch folder {shown} cannot be used: {reason}", remedy)


def check_scratch(folder: Path) -> None:
    """Raise UnavailableError if a scratch folder was removed while in use, or can no longer be used."""
    with in_scratch(folder), os.scandir(folder):
        pass


def scratch_place(parent: str) -> Path:
    """Return where scratch folders are created; absolute, since child processes run in them.

    Parameters
    ----------
    parent
        As configured; empty: ``$TMPDIR``, ``/tmp``, or another folder that Python finds.

    Raises
    ------
    UnavailableError
        None of them can be written, for example because the disk is full.
    """
    try:
        return Path(parent or tempfile.gettempdir()).absolute()
    except FileNotFoundError as error:
        raise UnavailableError(f"no scratch folder can be used: {error.strerror}", _HINT) from None


def _require_not_for_all(place: Path) -> None:
    for part, status in way_to(place):
        if not stat.S_ISLNK(status.st_mode) and is_for_all(status):
            shown = show(str(part))
            raise UnavailableError(
                f"{shown} is world-writable and has no sticky bit: any user of this machine could replace "
                "the scratch folder",
                f"chmod +t {shown}, or {_HINT}",
            )


def _sweep(place: Path, own: Path) -> None:
    for folder in place.glob(f"{_PREFIX}*"):
        try:
            status = folder.lstat()
            young = time.time() - status.st_mtime < _YOUNG_SECONDS  # it may not have its lock yet
            if folder == own or status.st_uid != os.getuid() or young:
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | NEVER_WAIT)
        except OSError:
            continue
        try:
            if try_lock(lock, without_locks=False):  # without locks, nobody knows whether its owner lives
                _remove(folder)
        except OSError:
            pass
        finally:
            os.close(lock)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def for_databases(scratch: str) -> str:
    """Return the scratch folder for DuckDB: ``scratch``, or the default if DuckDB cannot use its path.

    In the path of a database, DuckDB treats a backslash as a slash, and does not take a question mark
    literally.
    """
    return "" if {"\\", "?"} & set(scratch) else scratch
