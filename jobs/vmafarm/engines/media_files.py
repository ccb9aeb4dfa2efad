"""Checks of files without decoding: whether they can be read, and the geometry of raw frames."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from vmafarm.disk.file_stamp import Stamp
from vmafarm.disk.regular_files import open_regular
from vmafarm.engines.failure import ClipFailedError
from vmafarm.process.run import Stop, Stopped


def check_readable(path: Path, planned: int | None = None) -> Stamp:
    """Check a clip without opening it.

    Parameters
    ----------
    path
        Path of the clip; links are followed.
    planned
        Size in the manifest; None: unknown.

    Raises
    ------
    ClipFailedError
        ``unreadable`` if it is not a regular file that may be read, ``changed`` if it has another size,
        ``decode_error`` if it is empty.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ClipFailedError("unreadable", "not a regular file")
        if not os.access(path, os.R_OK):
            raise ClipFailedError("unreadable", "no permission to read it")
    except OSError as error:
        raise ClipFailedError("unreadable", f"cannot be read: {error.strerror}") from None
    if planned is not None and status.st_size != planned:
        raise ClipFailedError(
            "changed",
            f"planned with {planned:,} bytes, found with {status.st_size:,}: restore the planned file, or "
            "plan another run",
        )
    if status.st_size == 0:
        raise ClipFailedError("decode_error", "the file is empty")
    # Without its inode, which FUSE and CIFS may renumber while the file is not open.
    return replace(Stamp.of(status), inode=0)


def check_unchanged(path: Path, before: Stamp) -> None:
    """Raise ClipFailedError (``changed``, ``unreadable``) if the clip is not the one that was opened."""
    now = check_readable(path, before.bytes)
    if now != before:
        raise ClipFailedError("changed", "written to while it was read")


def read_through(path: Path, deadline: float, stop: Stop | None = None) -> None:
    """Read a clip to its end: with ffmpeg, a failing disk looks like a damaged clip.

    Parameters
    ----------
    path
        Path of the clip. Holes are skipped: they are not on disk and can have any size.
    deadline
        Time limit in seconds.
    stop
        Ends the reading early.

    Raises
    ------
    ClipFailedError
        ``unreadable``; ``timeout`` at the deadline.
    Stopped
        `stop` was set.
    """
    ends_at = time.monotonic() + deadline
    try:
        with open_regular(path, None) as file:
            while _to_data(file) and file.read(1 << 20):
                _go_on(ends_at, deadline, stop)
    except OSError as error:
        raise ClipFailedError("unreadable", f"cannot be read: {error.strerror}") from None


def hash_clip(path: Path, deadline: float, stop: Stop | None = None) -> str:
    """SHA-256 of a clip, in hexadecimal digits; call it while what was decoded is in the page cache.

    Parameters
    ----------
    path, deadline, stop
        As for `read_through`.

    Raises
    ------
    ClipFailedError, Stopped
        As `read_through`.
    """
    digest, ends_at = hashlib.sha256(), time.monotonic() + deadline
    try:
        with open_regular(path, None) as file:
            while block := file.read(1 << 20):
                digest.update(block)
                _go_on(ends_at, deadline, stop)
    except OSError as error:
        raise ClipFailedError("unreadable", f"cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def _go_on(ends_at: float, deadline: float, stop: Stop | None) -> None:
    if stop is not None and stop.is_set():
        raise Stopped
    if time.monotonic() >= ends_at:
        raise ClipFailedError("timeout", f"reading it to its end took over {deadline:.0f} s")


def _to_data(file: BinaryIO) -> bool:
    """Skip a hole, if there is one here; False: nothing follows it."""
    try:
        file.seek(file.tell(), os.SEEK_DATA)
    except OSError as error:
        return error.errno != errno.ENXIO  # others: a file system that does not report holes
    return True


@dataclass(frozen=True)
class RawVideo:
    """Geometry of a .y4m file, from the stream itself.

    Attributes
    ----------
    width, height
        Luma size in pixels.
    bit_depth
        8 or 10.
    frames
        Whole frames in the file.
    """

    width: int
    height: int
    bit_depth: int
    frames: int


def read_y4m(path: Path) -> RawVideo:
    """Read the header of a 4:2:0 .y4m file and count its frames by its size.

    Raises
    ------
    ValueError
        Not such a file, or it ends within a frame.
    """
    with open_regular(path, None) as file:
        return _read_layout(file)[0]


def _read_layout(file: BinaryIO) -> tuple[RawVideo, int, int]:
    """Geometry of a .y4m file, the bytes of its header, and those of a frame with the frame's own header."""
    header = file.readline(1024)
    total = file.seek(0, 2) - len(header)
    fields = header.decode("ascii", "replace").split()
    if not fields or fields[0] != "YUV4MPEG2":
        raise ValueError("not a .y4m file")
    values = {field[0]: field[1:] for field in fields[1:]}
    width, height = int(values["W"]), int(values["H"])
    chroma = values.get("C", "420")
    if not chroma.startswith("420"):
        raise ValueError(f"chroma format {chroma}, expected 420")
    depth = 10 if chroma.startswith("420p10") else 8
    samples = width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2)
    frame = len(_FRAME) + samples * (2 if depth > 8 else 1)
    if total % frame:
        raise ValueError(f"ends within a frame: {total} bytes, {frame} a frame")
    return RawVideo(width, height, depth, total // frame), len(header), frame


_FRAME = b"FRAME\n"


@contextmanager
def open_luma(path: Path) -> Iterator[Callable[[int], NDArray[np.integer]]]:
    """Open a .y4m file that `read_y4m` accepts, to read the luma of single frames.

    Yields
    ------
    callable
        Number of a frame, from 0, to its luma: uint8, or uint16 at 10 bit, of shape ``(height, width)``.
        Raises OSError if the file cannot be read, or has no such frame any more.
    """
    with open_regular(path, None) as file:
        shape, start, size = _read_layout(file)
        kind = np.dtype("<u2" if shape.bit_depth > 8 else "u1")
        luma = shape.width * shape.height * kind.itemsize

        def read(number: int) -> NDArray[np.integer]:
            file.seek(start + number * size + len(_FRAME))
            content = file.read(luma)
            if len(content) != luma:
                raise OSError(errno.EIO, "the decoded frames have been cut")
            return np.frombuffer(content, kind).reshape(shape.height, shape.width)

        yield read
