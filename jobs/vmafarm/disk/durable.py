"""All durable I/O: what stands on disk after a call returns survives a kill and a power loss.

The order is always the same: write, fsync the file, rename, fsync the folder. Without the fsync of the file a
rename may survive a power loss that the bytes did not; without that of the folder the file may have no name.
Some file systems cannot sync a folder: there only the names may be lost, and doctor and plan say so.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from vmafarm.common.errors import DISK, IncompleteError, UnavailableError, show, to_do
from vmafarm.common.interrupts import hold, release
from vmafarm.disk.regular_files import require_regular
from vmafarm.disk.syscalls import System, name_first, sync_names, write_all

system = System()
"""What all calls below go through."""
_unsynced: set[Path] = set()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Tell an error of the system as one of ours that names the file and says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UnavailableError(
                f"no space left for {show(str(path))}: {error.strerror}",
                "free space (or quota, or inodes: df -h, df -i), then run the same command again; "
                "everything finished so far is kept",
            ) from error
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            raise  # a file is where a folder should be: the caller knows what is in the way
        told = error.errno in (*DISK, errno.EISDIR, errno.ELOOP)
        remedy = to_do(error.errno) if told else "make the run folder writable"
        raise UnavailableError(
            f"cannot write {show(str(path))}: {error.strerror or error}",
            f"{remedy}, or choose another one (run.root), then run again; everything finished so far is kept",
        ) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    with explained(folder):
        _sync_names(folder)


def may_lose_names(folder: Path) -> bool:
    """Whether a power loss may cost names in a folder that was written here: it could not be synced."""
    return folder in _unsynced


def _sync_names(folder: Path) -> None:
    descriptor = system.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        (_unsynced.discard if sync_names(system, descriptor) else _unsynced.add)(folder)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder with its parents, each name durable; also the name of one that was there."""
    with explained(folder):
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        # Whoever made this one may have been killed before its name was durable. Those above it
        # were made by the same rule: each was durable before the next one was made in it.
        if _may_be_ours(folder):
            _sync_names(folder.absolute().parent)
        for path in reversed(missing):
            with suppress(FileExistsError):  # another process was faster
                system.mkdir(path)
            if not path.is_dir():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            _sync_names(path.parent)


def _may_be_ours(folder: Path) -> bool:
    parent = folder.absolute().parent
    # The name of a mount stands in no folder, and some file systems cannot sync one (SquashFS).
    ours = os.access(parent, os.R_OK | os.W_OK, effective_ids=True)
    return ours and folder.stat().st_dev == parent.stat().st_dev


class Draft(io.RawIOBase):
    """A file that is written beside its destination, and takes its place whole or never.

    Attributes
    ----------
    path
        Where it is being written, by default for all whom the umask lets.
    """

    _AT_ONCE = 1 << 20

    def __init__(self, destination: Path, mode: int = 0o666) -> None:
        super().__init__()
        self._destination = destination
        self.path = destination.with_name(
            f".{destination.name[:200]}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
        )
        self._waiting = bytearray()
        self._synced = self._published = False
        with explained(destination):
            self._descriptor = system.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        hold(self.path)

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Take some bytes; in the file after `sync`."""
        self._waiting += data
        self._synced = False
        if len(self._waiting) >= self._AT_ONCE:
            self._write_out()
        return memoryview(data).nbytes

    def _write_out(self) -> None:
        with explained(self._destination):
            write_all(system, self._descriptor, self._waiting)
        self._waiting = bytearray()

    def sync(self) -> None:
        """Have all bytes on disk, so that others may read them under `path`."""
        if self._synced:
            return
        self._write_out()
        with explained(self._destination):
            system.fsync(self._descriptor)
        self._synced = True

    @contextmanager
    def there(self) -> Iterator[Path]:
        """`path`, for what needs it by name; an error that comes of a draft that is gone says so."""
        try:
            yield self.path
        except Exception as error:
            if self.path.exists():
                raise
            raise IncompleteError(
                f"the draft of {show(str(self._destination))} was removed while it was being written: "
                f"{show(str(self.path))}",
                "another process removes files there; run the same command again",
            ) from error

    def publish(self) -> None:
        """Put the file in place, with all bytes that were written."""
        self.sync()
        with explained(self._destination):
            with self.there():
                system.replace(self.path, self._destination)
            self._published = True
            _sync_names(self._destination.parent)

    def publish_first(self) -> None:
        """Put the file in place unless there is one; raises FileExistsError then."""
        self.sync()
        with explained(self._destination):
            try:
                name_first(system, self.path, self._destination)
            finally:
                # Also what another process has just put there is to be built upon.
                _sync_names(self._destination.parent)

    def close(self) -> None:
        """Close the file, and remove it unless it was published; safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            if not self._published:
                with suppress(OSError):  # left behind at worst; the original error is reported
                    system.unlink(self.path)
        release(self.path)
        super().close()


def replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Put a file in place whole, or leave what was there untouched.

    Parameters
    ----------
    path
        Destination; its folder exists.
    write
        Called with an open binary file beside the destination.

    Raises
    ------
    UnavailableError
        No space, no permission or an I/O error; the destination is as it was.
    """
    with Draft(path) as draft:
        write(cast(BinaryIO, draft))
        draft.publish()


def replace_text(path: Path, text: str) -> None:
    """`replace` with UTF-8 text."""
    replace(path, lambda file: file.write(text.encode()))


def create_text(path: Path, text: str) -> None:
    """Put a whole file of UTF-8 text in place; raises FileExistsError where there is one."""
    with Draft(path) as draft:
        draft.write(text.encode())
        draft.publish_first()


def reserve(path: Path) -> None:
    """Create an empty file; raises FileExistsError where there is one.

    Of two processes one gets the name. It is not yet durable: nothing depends on it before a file
    beside it is written, which makes both names durable.
    """
    with explained(path):
        os.close(system.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))


def publish(temporary: Path, path: Path) -> None:
    """Rename a finished file, written by somebody else beside `path`, into place durably."""
    with explained(path):
        descriptor = system.open(temporary, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            require_regular(descriptor, temporary)
            system.fsync(descriptor)
        finally:
            os.close(descriptor)
        system.replace(temporary, path)
        _sync_names(path.parent)


def remove(path: Path) -> None:
    """Remove a file of this process's own whose content stands durably elsewhere.

    A power loss may bring it back.
    """
    with explained(path), suppress(FileNotFoundError):
        system.unlink(path)


class Appender:
    """Appends whole records to a file of this process's own.

    A record is in the file after `append` returns, on disk if `durable`. A record that could not
    be written whole is cut off again, so that the next one does not grow onto its stump.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.path = path
        self._durable = durable
        self._stump = False
        with explained(path):
            self._file = system.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            try:
                self._length = require_regular(self._file, path)
            except OSError:
                self.close()
                raise
            if durable:
                _sync_names(path.parent)

    def append(self, record: bytes) -> None:
        """Append one record (with its line end)."""
        with explained(self.path):
            if self._stump:
                self._cut()
            try:
                write_all(system, self._file, record)
                if self._durable:
                    system.fsync(self._file)
            except OSError:
                self._stump = True
                with suppress(OSError):  # tried again before the next record; the first error is reported
                    self._cut()
                raise
        self._length += len(record)

    def _cut(self) -> None:
        system.truncate(self._file, self._length)
        self._stump = False

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
