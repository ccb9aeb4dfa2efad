"""Files read without decoding them: whether they can be read, and what they say of themselves."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from jobs.clip import ClipFailedError
from jobs.process import Stop, Stopped

_FIRST = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
"""Kinds of box with which MP4 and MOV files begin."""


@dataclass(frozen=True)
class Stamp:
    """What shows that a file has changed.

    Attributes
    ----------
    bytes
        Its size.
    changed_ns
        When it was last written, nanoseconds since 1970.
    """

    bytes: int
    changed_ns: int


def check_readable(path: Path, planned: int | None = None) -> Stamp:
    """Look at a clip without opening it.

    Parameters
    ----------
    path
        Of the clip; links are followed.
    planned
        Size in the manifest; None: not known.

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
            f"planned with {planned:,} bytes, found with {status.st_size:,}: put the planned file back, or "
            "plan another run",
        )
    if status.st_size == 0:
        raise ClipFailedError("decode_error", "the file is empty")
    return Stamp(status.st_size, status.st_mtime_ns)


def check_unchanged(path: Path, before: Stamp) -> None:
    """Raise ClipFailedError (``changed``, ``unreadable``) if the clip is not the one that was opened."""
    now = check_readable(path, before.bytes)
    if now != before:
        raise ClipFailedError("changed", "written to while it was read")


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, but wait for no pipe that has taken its place.

    Raises
    ------
    OSError
        It cannot be opened, or is not a regular file.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        yield file


def read_through(path: Path, stop: Stop | None = None) -> None:
    """Read a clip to its end: to ffmpeg a failing disk looks like a damaged clip.

    Parameters
    ----------
    path
        Of the clip.
    stop
        Ends the reading early: a file with holes can be of any size.

    Raises
    ------
    ClipFailedError
        ``unreadable``.
    Stopped
        `stop` was set.
    """
    try:
        with open_regular(path) as file:
            while file.read(1 << 20):
                if stop is not None and stop.is_set():
                    raise Stopped
    except OSError as error:
        raise ClipFailedError("unreadable", f"cannot be read: {error.strerror}") from None


def declared_cut(clip: Path) -> str:
    """Whether an MP4, MOV or AVI file is shorter than it says.

    A file cut exactly between two packets decodes without any message (measured, ffmpeg 9), so the
    container itself must be asked: a top-level box (ISO/IEC 14496-12, 4.2) that reaches beyond the
    end of the file shows the cut. So does the size in the head of an AVI file (RIFF).

    Parameters
    ----------
    clip
        Any file.

    Returns
    -------
    str
        What is missing, or "" for a whole file or another container.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with open_regular(clip) as file:
        end = file.seek(0, 2)
        position = 0
        for _ in range(100_000):  # fragmented files have many boxes, broken ones must not hold us up
            if position + 8 > end:
                return ""
            file.seek(position)
            header = file.read(16)
            if position == 0 and header[:4] == b"RIFF":
                return _declared_cut_of_riff(int.from_bytes(header[4:8], "little"), end)
            size, kind = int.from_bytes(header[:4], "big"), header[4:8]
            if position == 0 and kind not in _FIRST:
                return ""
            if size == 1:
                size = int.from_bytes(header[8:16], "big")
            if size == 0:  # up to the end of the file
                return ""
            if size < 8:
                return ""
            if position + size > end:
                if kind in (b"mdat", b"moov", b"moof"):
                    return f"its {kind.decode()} box ends at byte {position + size}, the file at {end}"
                return ""
            position += size
    return ""


def _declared_cut_of_riff(size: int, end: int) -> str:
    if size in (0, 0xFFFFFFFF) or size + 8 <= end:  # those two: written as a stream, size unknown
        return ""
    return f"its RIFF chunk ends at byte {size + 8}, the file at {end}"


def declared_frames(clip: Path) -> int:
    """Frames that the video tracks of an MP4 or MOV file have by its index; 0 where that tells nothing.

    A file of kilobytes can have millions: its index may name the same bytes again and again.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    most = 0
    with open_regular(clip) as file:
        end = file.seek(0, 2)
        for kind, start, stop in _boxes(file, 0, end):
            if start == 8 and kind not in _FIRST:
                return 0
            if kind != b"moov":
                continue
            for track in _inside(file, (start, stop), b"trak"):
                handler = next(_inside(file, track, b"mdia", b"hdlr"), None)
                if handler is None or _read(file, handler[0] + 8, 4) != b"vide":
                    continue
                for index, _ in _inside(file, track, b"mdia", b"minf", b"stbl", b"stsz"):
                    most = max(most, int.from_bytes(_read(file, index + 8, 4), "big"))
    return most


def _inside(file: BinaryIO, within: tuple[int, int], *path: bytes) -> Iterator[tuple[int, int]]:
    """Where the boxes lie that this path leads to."""
    for kind, start, stop in _boxes(file, *within):
        if kind == path[0]:
            if len(path) == 1:
                yield start, stop
            else:
                yield from _inside(file, (start, stop), *path[1:])


def _boxes(file: BinaryIO, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of the content of each box; broken ones end it, and many do not hold us up."""
    for _ in range(1_000):
        header = _read(file, position, 16) if position + 8 <= end else b""
        size, kind, content = int.from_bytes(header[:4], "big"), header[4:8], position + 8
        if size == 1:
            size, content = int.from_bytes(header[8:16], "big"), position + 16
        if size < content - position or position + size > end:
            return
        yield kind, content, position + size
        position += size


def _read(file: BinaryIO, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


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
    with path.open("rb") as file:
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
    frame = len(b"FRAME\n") + samples * (2 if depth > 8 else 1)
    if total % frame:
        raise ValueError(f"ends within a frame: {total} bytes, {frame} a frame")
    return RawVideo(width, height, depth, total // frame)
