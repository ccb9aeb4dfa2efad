"""The calls of the system that durable I/O consists of: one seam, in which a test can make them fail.

Nothing else in the package writes what has to survive. Whoever replaces `vmafarm.disk.durable.system` sees,
in order, every call that decides what stands on disk after a kill or a power loss.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from vmafarm.disk.regular_files import NEVER_WAIT

_HERE = -100
"""AT_FDCWD: paths are relative to the working folder."""
_NOREPLACE = 1
"""RENAME_NOREPLACE."""


class System:
    """Passes each call on to the system."""

    def open(self, path: Path, flags: int, mode: int = 0o666) -> int:
        """Open or create a file, or open a folder, without a wait; returns a descriptor.

        What is opened for writing may be no link: whoever may write the folder too, a member of a group,
        could have planted one that leads to another file of this user. Links among the folders are followed.
        """
        if flags & os.O_ACCMODE != os.O_RDONLY:
            flags |= os.O_NOFOLLOW
        try:
            return os.open(path, flags | NEVER_WAIT, mode)
        except OSError as error:
            if error.errno == errno.ELOOP and path.is_symlink():
                error.strerror = "this is a link, expected a regular file"
            raise

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """Write a part of `data` at the end; returns how much."""
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Make a file's content, or the names in a folder, durable."""
        os.fsync(descriptor)

    def truncate(self, descriptor: int, length: int) -> None:
        """Cut a file."""
        os.ftruncate(descriptor, length)

    def replace(self, source: Path, destination: Path) -> None:
        """Give a file another name; what had that name loses it."""
        os.replace(source, destination)  # noqa: PTH105 - as plain as the other calls here

    def link(self, source: Path, destination: Path) -> None:
        """Give a file a second name; raises FileExistsError where that is taken."""
        os.link(source, destination)

    def rename_first(self, source: Path, destination: Path) -> None:
        """Give a file another name (renameat2(2)); raises FileExistsError where that is taken."""
        rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        if rename is None:  # a C library of before 2018, or another one
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        if rename(_HERE, os.fsencode(source), _HERE, os.fsencode(destination), _NOREPLACE):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def unlink(self, path: Path) -> None:
        """Take a name away."""
        os.unlink(path)  # noqa: PTH108

    def mkdir(self, path: Path) -> None:
        """Make a folder."""
        os.mkdir(path)  # noqa: PTH102

    def rmdir(self, path: Path) -> None:
        """Remove an empty folder."""
        os.rmdir(path)  # noqa: PTH106


_CANNOT_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)


def sync_names(system: System, descriptor: int) -> bool:
    """Make the names in an open folder durable; False: its file system cannot do that.

    CIFS, vboxsf and some FUSE file systems refuse fsync of a folder, each with another one of these errors.
    Any other error is raised: the disk fails, or is full.
    """
    try:
        system.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
        return False
    return True


def write_all(system: System, descriptor: int, data: bytes | bytearray) -> None:
    """Write all of it at the end of a file."""
    view = memoryview(data)
    while view:
        view = view[system.write(descriptor, view) :]


def name_first(system: System, source: Path, destination: Path) -> None:
    """Give a file a name unless that is taken; the file may keep its first name beside it.

    Raises
    ------
    FileExistsError
        The name is taken: of two processes one gets it.
    """
    # exFAT, FAT and some of FUSE have no links, and few of those cannot rename in this way either.
    for name in (system.link, system.rename_first):
        try:
            return name(source, destination)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
    # There, of two at the very same time, the second one wins.
    if destination.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    return system.replace(source, destination)
