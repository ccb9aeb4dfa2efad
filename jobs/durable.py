"""All durable I/O: what stands on disk after a call returns survives a kill and a power loss.

The order is always the same: write, fsync the file, rename, fsync the folder. Without the fsync
of the file a rename may survive a power loss that the bytes did not; without the fsync of the
folder the file may have lost its name.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from jobs.errors import UnavailableError, show


@contextmanager
def _explained(path: Path) -> Iterator[None]:
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
        raise UnavailableError(
            f"cannot write {show(str(path))}: {error.strerror or error}",
            "make the run folder writable, or choose another one (run.root), then run again; "
            "everything finished so far is kept",
        ) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder with its parents, each name durable."""
    with _explained(folder):
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            sync_folder(path.parent)


def replace(path: Path, write: Callable[[BinaryIO], None]) -> None:
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
    temporary = path.with_name(f".{path.name[:60]}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    with _explained(path):
        try:
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def replace_text(path: Path, text: str) -> None:
    """`replace` with UTF-8 text."""
    replace(path, lambda file: _write_all(file, text.encode()))


def create(path: Path) -> None:
    """Create an empty file; raises FileExistsError where there is one."""
    with _explained(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        sync_folder(path.parent)


def _write_all(file: BinaryIO, data: bytes) -> None:
    file.write(data)


def publish(temporary: Path, path: Path) -> None:
    """Rename a finished file, written by somebody else beside `path`, into place durably."""
    with _explained(path):
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file of this process's own whose content stands durably elsewhere."""
    with _explained(path):
        path.unlink(missing_ok=True)


class Appender:
    """Appends whole records to a file of this process's own.

    A record is in the file after `append` returns, on disk if `durable`. A record that could not
    be written whole is cut off again, so that the next one does not grow onto its stump.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.path = path
        self._durable = durable
        with _explained(path):
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            if durable:
                sync_folder(path.parent)
        self._length = os.fstat(self._file).st_size

    def append(self, record: bytes) -> None:
        """Append one record (with its line end)."""
        with _explained(self.path):
            try:
                view = memoryview(record)
                while view:
                    view = view[os.write(self._file, view) :]
                if self._durable:
                    os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, self._length)
                raise
        self._length += len(record)

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def json_line(value: Any) -> bytes:
    """One line of strict JSON Lines (NaN is not JSON and raises ValueError)."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def checked_line(value: Any) -> bytes:
    """A line of JSON behind its CRC-32, so that a torn write shows."""
    line = json_line(value)
    return f"{zlib.crc32(line):08x} ".encode() + line


def read_checked(path: Path) -> tuple[list[Any], int]:
    """Read what `checked_line` wrote.

    Returns
    -------
    records : list
        The whole ones, in order.
    torn : int
        Lines that are cut or do not match their checksum; their writer died in the middle.
    """
    records = []
    torn = 0
    for line in path.read_bytes().splitlines(keepends=True):
        crc, body = line[:8], line[9:]
        try:
            if not line.endswith(b"\n") or line[8:9] != b" " or crc != f"{zlib.crc32(body):08x}".encode():
                raise ValueError
            records.append(json.loads(body))
        except (ValueError, RecursionError):  # a sum that is right over what is no JSON: nobody's record
            torn += 1
    return records, torn


def read_json_lines(path: Path) -> Iterator[Any]:
    """Read JSON Lines; a line that is none, as the last one of a killed writer, is left out."""
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            continue
