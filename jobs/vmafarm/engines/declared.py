"""The length that a file declares, and whether the decoded video is as long.

Only what the file itself is known to declare counts. If an index lists frames that are missing, the clip
fails; if only a header promises more, the row stays and the clip log marks it as short.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from vmafarm.common.text import counted
from vmafarm.config.geometry import Geometry
from vmafarm.disk.regular_files import open_regular
from vmafarm.engines.boxes import FIRST, read_boxes
from vmafarm.engines.chunks import read_chunks
from vmafarm.engines.ffmpeg_report import Report
from vmafarm.engines.reader import Reader, TooManyReadsError

_WITH_DURATION = {"matroska", "flv", "asf", "ivf", "mxf", "rm", "mov"}
"""Containers whose header has a duration: for others ffmpeg takes it from the last packets."""
_HIDDEN = 2
"""Frames that may be missing at the ends of a sound clip: decoders drop those without a reference."""
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
"""Header Object and File Properties Object (ASF specification, 10.1 and 10.2)."""
_OGG_TAIL = 1 << 17
"""Two of the largest pages (RFC 3533, section 6)."""


@dataclass(frozen=True)
class Declared:
    """What a file declares about its video.

    Attributes
    ----------
    samples
        Packets in its index; 0: unknown.
    frames
        Those of them that are shown; 0: unknown.
    seconds
        Duration by a header that ffmpeg does not report; NaN: none.
    cut
        Evidence in the index that frames are missing from the file, or "".
    absent
        How many of the frames were not found, or ""; damage may have hidden them.
    unended
        The stream lacks its end mark.
    exact
        `frames` is the number of frames, to the last one.
    """

    samples: int = 0
    frames: int = 0
    seconds: float = math.nan
    cut: str = ""
    absent: str = ""
    unended: bool = False
    exact: bool = False


def read_declared(clip: Path, raw: Geometry | None = None) -> Declared:
    """Read the length that a file declares; nothing is decoded.

    Parameters
    ----------
    clip
        Any file.
    raw
        Geometry of a raw clip, whose size is its length; whatever its first bytes are, they are a frame's.

    Raises
    ------
    OSError
        It cannot be read.
    """
    with BufferedReader(open_regular(clip, None)) as file:
        if raw is not None:
            frames, rest = divmod(file.seek(0, os.SEEK_END), raw.frame_bytes)
            cut = f"it ends {rest:,} bytes into a frame of {raw.frame_bytes:,}" if rest else ""
            return Declared(frames, frames, cut=cut, exact=True)
        head = file.read(16)
        with suppress(TooManyReadsError):
            if head[4:8] in FIRST:
                boxes = read_boxes(Reader(file))
                return Declared(boxes.samples, boxes.frames, cut=boxes.cut)
            if head[:4] == b"RIFF":
                chunks = read_chunks(Reader(file))
                return Declared(frames=chunks.frames, cut=chunks.cut, absent=chunks.absent)
        if head == _ASF:
            return Declared(seconds=_asf_seconds(file))
        if head[:4] == b"OggS":
            return Declared(unended=not _ogg_ends(file))
    return Declared()


def _asf_seconds(file: BinaryIO) -> float:
    """Play duration of an ASF file without its preroll (ASF specification, 3.2).

    ffmpeg ignores it if the file size differs from the declared one.
    """
    file.seek(0)
    header = file.read(1 << 16)
    at = header.find(_ASF_FILE, 30)
    fields = header[at : at + 104]
    if at < 0 or len(fields) < 104 or fields[88] & 1:  # written as a stream
        return math.nan
    seconds = int.from_bytes(fields[64:72], "little") / 1e7 - int.from_bytes(fields[80:88], "little") / 1e3
    return seconds if seconds > 0 else math.nan


def _ogg_ends(file: BinaryIO) -> bool:
    """Whether the last page of a video stream is marked as such (RFC 3533, section 6); True if unknown."""
    file.seek(0)
    first = file.read(1 << 16)
    video = set()
    at = first.find(b"OggS")
    while at >= 0 and len(first) >= at + 28 and first[at + 5] & 2:  # the first pages of all streams
        content = at + 27 + first[at + 26]
        if first[content : content + 7] in (b"\x80theora", b"OVP80\x01\x01", b"BBCD\0\0\0"):
            video.add(first[at + 14 : at + 18])
        at = first.find(b"OggS", content)
    end = file.seek(0, 2)
    file.seek(max(0, end - _OGG_TAIL))
    last = file.read(_OGG_TAIL)
    at = last.rfind(b"OggS")
    while at >= 0:
        if last[at + 14 : at + 18] in video:
            return bool(last[at + 5] & 4)
        at = last.rfind(b"OggS", 0, at)
    return True


def declared_seconds(declared: Declared, report: Report) -> float:
    """Duration that the file declares, in seconds; NaN: none."""
    if not math.isnan(declared.seconds):
        return declared.seconds
    if report.duration and report.container.partition(",")[0] in _WITH_DURATION:
        return report.duration
    return math.nan


def missing(declared: Declared, report: Report) -> str:
    """Evidence in the file's index that frames were not decoded, or ""."""
    if declared.cut:
        return declared.cut
    if declared.absent and report.frames < declared.frames:  # ffmpeg also looks for frames after the damage
        return declared.absent
    if declared.exact and declared.frames != report.frames:
        return f"its size is that of {counted(declared.frames, 'frame')}, {report.frames:,} came out"
    # Frames in the middle may be concealed or dropped, and those at the start may lack a reference: only if
    # the end is missing too did the decoder stop early.
    if report.damaged and _fewer(declared, report) and _ends_early(declared, report):
        return f"its index counts {declared.frames} frames, {report.frames} came out: {report.damaged}"
    return ""


def shortfall(declared: Declared, report: Report) -> str:
    """How a decoded clip is shorter than declared, or ""."""
    if declared.frames:
        if _fewer(declared, report):
            return f"{counted(report.frames, 'frame')}, the file counts {declared.frames}"
        return ""
    if _ends_early(declared, report):
        seconds = declared_seconds(declared, report)
        return f"the video ends at {report.shown_seconds:.2f} s, the file says {seconds:.2f} s"
    if declared.unended:
        return "the stream has no last page"
    return ""


def _fewer(declared: Declared, report: Report) -> bool:
    # In interlaced H.264, MPEG-2 and VC-1 each field may have its own packet.
    fields = abs(2 * report.frames - declared.frames) <= _HIDDEN
    return report.frames + _HIDDEN < declared.frames and not fields


def _ends_early(declared: Declared, report: Report) -> bool:
    # Sound may be a little longer than the video, and some writers count the delay of two B-frames.
    seconds = declared_seconds(declared, report)
    frames = 2.5 / report.fps if report.fps else 0.0
    return report.shown_seconds > 0 and seconds - report.shown_seconds > max(0.1, frames) + 0.05 * seconds
