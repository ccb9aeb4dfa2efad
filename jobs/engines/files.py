"""Files read without decoding them: whether they can be read, and what they say of themselves."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from jobs.clip import ClipFailedError


def check_readable(path: Path) -> int:
    """Size of a clip in bytes, if it is a regular file that may be read and is not empty.

    Raises
    ------
    ClipFailedError
        ``unreadable``, or ``decode_error`` for an empty file.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ClipFailedError("unreadable", "not a regular file")
        if not os.access(path, os.R_OK):
            raise ClipFailedError("unreadable", "no permission to read it")
    except OSError as error:
        raise ClipFailedError("unreadable", f"cannot be read: {error.strerror}") from None
    if status.st_size == 0:
        raise ClipFailedError("decode_error", "the file is empty")
    return status.st_size


def read_through(path: Path) -> None:
    """Read a clip to its end: to ffmpeg a failing disk looks like a damaged clip.

    Raises
    ------
    ClipFailedError
        ``unreadable``.
    """
    try:
        with path.open("rb") as file:
            while file.read(1 << 20):
                pass
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
    with clip.open("rb") as file:
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
            if position == 0 and kind not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
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
