"""The scratch folder of an element: private, and gone on every way out."""

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
    """Make a private folder (0700), and remove it at the end.

    Folders that killed elements left behind in the same place are removed at the start: their owner
    holds a lock for as long as it lives, which the kernel releases whatever happens.

    Parameters
    ----------
    parent
        Where; empty: ``$TMPDIR`` or ``/tmp``.

    Raises
    ------
    UnavailableError
        Nothing can be written there, or everybody could put another folder in its place.
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
    """Turn a system error in a scratch folder into one of ours, which names the folder.

    Parameters
    ----------
    folder
        What `scratch_folder` gave, or where that makes its folders.
    """
    try:
        yield
    except OSError as error:
        raise scratch_error(folder, error.errno or 0, error.strerror or str(error)) from None


def scratch_error(folder: Path, number: int, reason: str) -> UnavailableError:
    """What is wrong with a scratch folder.

    Parameters
    ----------
    folder
        As for `in_scratch`.
    number, reason
        Of the system's error.
    """
    is_private = folder.name.startswith(_PREFIX)
    if number in (errno.ENOENT, errno.ENOTDIR):
        what = "was removed while it was in use" if is_private else "is not there"
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
    """Raise UnavailableError if a scratch folder has been removed while it was in use."""
    try:
        folder.stat()
    except FileNotFoundError:
        raise scratch_error(folder, errno.ENOENT, "") from None


def scratch_place(parent: str) -> Path:
    """Where scratch folders are made; absolute, since child processes run in them and get their paths.

    Parameters
    ----------
    parent
        As configured; empty: ``$TMPDIR``, ``/tmp``, or what Python finds in their place.

    Raises
    ------
    UnavailableError
        None of these can be written, for example because the disk is full.
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
                f"everybody on this machine may write {shown}, which has no sticky bit: anybody could put "
                "another folder in the place of the scratch folder",
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
            if try_lock(lock, without_locks=False):  # else nobody knows whether its owner lives
                _remove(folder)
        except OSError:
            pass
        finally:
            os.close(lock)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def for_databases(scratch: str) -> str:
    """The scratch folder for DuckDB: ``scratch``, or the system's where DuckDB could not name it.

    DuckDB takes a backslash in the path of a database for a slash, and what follows a question mark
    for something else.
    """
    return "" if {"\\", "?"} & set(scratch) else scratch
