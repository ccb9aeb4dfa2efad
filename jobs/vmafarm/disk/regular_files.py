"""Opening files that somebody else may have put there: regular files only, and no more bytes than expected.

Opening a FIFO can wait forever, a device has no end, and a file may grow while it is read. All files of a
run, and every configuration, are opened here.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

MOST_BYTES = 1 << 30
"""Of a file that is read whole: a shard of a million rows has 0.4 GB."""

MOST_BYTES_OF_RECORDS = 1 << 28
"""Of a journal, and of a file of records that one writer has written: some 100,000 of them."""

MOST_BYTES_OF_DOCUMENT = 1 << 24
"""Of what is one document: a configuration, a submission with all its slices."""

MOST_BYTES_OF_NOTE = 1 << 16
"""Of a note of a few lines."""

NOT_AS_EXPECTED = frozenset((errno.EINVAL, errno.EFBIG, errno.ELOOP))
"""Errors about what the file is, not failures of the system."""

NEVER_WAIT = os.O_NONBLOCK | os.O_NOCTTY
"""With these flags opening a FIFO does not wait; for regular files and folders they change nothing."""

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFSOCK: "a socket",
}


def open_regular(path: Path, most: int | None = MOST_BYTES) -> FileIO:
    """Open a regular file for reading, unbuffered; never waits for another process.

    Parameters
    ----------
    path
        The file, or a link to it.
    most
        Bytes that it may have; None: any number, for those who read it piece by piece.

    Raises
    ------
    OSError
        It cannot be opened, is a FIFO, a device, a socket or a folder (EINVAL), or has too many bytes
        (EFBIG); ``strerror`` says what was found and what was expected.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | NEVER_WAIT)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise _other(path.stat().st_mode, path) from None  # a socket cannot be opened
    try:
        size = require_regular(descriptor, path)
        if most is not None and size > most:
            raise _too_large(path, size, most)
        return open(descriptor, "rb", buffering=0)  # noqa: PTH123 - it is a descriptor
    except BaseException:
        os.close(descriptor)
        raise


def require_regular(descriptor: int, path: Path) -> int:
    """Bytes of an open file; raises OSError (EINVAL) if it is not a regular one."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise _other(status.st_mode, path)
    return status.st_size


def is_regular(path: Path) -> bool:
    """Whether it is a regular file or a link to one; it is not opened."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def list_files(folder: Path, suffix: str) -> list[Path]:
    """Files and folders with this suffix in a folder, sorted; empty if the folder does not exist.

    Raises
    ------
    OSError
        The folder cannot be read, which `Path.glob` takes for an empty one.
    """
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names are enough
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names) if name.endswith(suffix)]


def kind_of(entry: os.DirEntry[str]) -> str:
    """What stands in a folder, links followed: ``file``, ``folder``, or in words what is neither."""
    try:
        if entry.is_file():
            return "file"
        if entry.is_dir():
            return "folder"
        return _kind(entry.stat().st_mode)
    except OSError as error:  # a link to nothing, or to itself
        return f"a broken link ({error.strerror})"


@contextmanager
def freeing_readers(folder: Path) -> Iterator[None]:
    """Let libraries that open files by name wait for no FIFO that is put in a file's place after its check.

    A thread looks below the folder now and then, more and more seldom, and opens each FIFO for writing for a
    moment. Whoever waited for that goes on, and finds that this is not the file that it wants.

    Parameters
    ----------
    folder
        Of all that is opened.
    """
    over = threading.Event()

    def look() -> None:
        seconds = FIRST_LOOK_SECONDS
        while not over.wait(seconds):
            for path in _fifos(str(folder)):
                with suppress(OSError):  # nobody waits for it
                    os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC | NEVER_WAIT))
            seconds = min(2 * seconds, _LONGEST_PAUSE_SECONDS)

    threading.Thread(target=look, name="freeing-readers", daemon=True).start()
    try:
        yield
    finally:
        over.set()  # not joined: a look may take long on a network file system, and does no harm


FIRST_LOOK_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 60.0


def _fifos(folder: str) -> Iterator[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _fifos(entry.path)
            elif kind_of(entry) == _KINDS[stat.S_IFIFO]:
                yield entry.path


def _other(mode: int, path: Path) -> OSError:
    return OSError(errno.EINVAL, f"this is {_kind(mode)}, expected a regular file", str(path))


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "no regular file")


def read_regular(path: Path, most: int = MOST_BYTES, look: Callable[[FileIO], object] | None = None) -> bytes:
    """All bytes of a regular file; see `open_regular`. `look` sees it first, and may raise."""
    with open_regular(path, most) as file:
        if look is not None:
            look(file)
        parts, size = [], 0
        step = os.fstat(file.fileno()).st_size + 1  # all of it at once, unless it grows
        while part := file.read(min(step, most + 1 - size)):
            parts.append(part)
            size += len(part)
            step = _STEP
            if size > most:
                raise _too_large(path, size, most)
    return parts[0] if len(parts) == 1 else b"".join(parts)


_STEP = 1 << 20


def read_regular_text(path: Path, most: int = MOST_BYTES) -> str:
    """All of a regular file of UTF-8 text; see `open_regular`. Raises UnicodeDecodeError too."""
    return read_regular(path, most).decode()


def _too_large(path: Path, size: int, most: int) -> OSError:
    return OSError(errno.EFBIG, f"{size:,} bytes, expected at most {most:,}", str(path))
