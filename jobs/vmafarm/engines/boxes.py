"""The index of MP4 and MOV files: how many frames it lists, and whether they lie within the file.

Field layouts are those of ISO/IEC 14496-12; the section is named where a box is read. Files may be damaged
or hostile: each table is read up to `_TABLE` bytes, and a `Reader` bounds the number of reads.

ffmpeg alone does not notice (measured, ffmpeg 9): of 20 MP4 files cut between two packets, each gave a row of
fewer frames, two of them without any sign; of 24 cut within a fragment, 12 did.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vmafarm.engines.reader import Reader

FIRST = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"sidx", b"moof")
"""Kinds of box with which these files begin."""
_TABLE = 16 << 20
_LARGEST = 1 << 28
"""Largest frame size in bytes that is believed; sums of it do not overflow."""
_FAR = 1 << 60
"""Beyond the end of any file; sums of such offsets do not overflow."""

_Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Boxes:
    """What an MP4 or MOV file declares about its video.

    Attributes
    ----------
    samples
        Samples in the index of the longest video track; 0: no index.
    frames
        Those of them that the track's edit list shows; 0: unknown.
    cut
        Evidence that frames lie beyond the end of the file, or "".
    """

    samples: int = 0
    frames: int = 0
    cut: str = ""


def read_boxes(file: Reader) -> Boxes:
    """Read the index of a file that begins with a box of `FIRST`.

    A file cut exactly between two packets decodes without any message (measured, ffmpeg 9), and the size of
    ``mdat`` alone proves little: some writers overstate it, and the rest of an older file may follow. So the
    index decides: sample table, fragments or segment index; without one, the box sizes.

    Parameters
    ----------
    file
        The file.

    Raises
    ------
    OSError
        It cannot be read.
    TooManyReadsError
        It has more boxes than any sound file.
    """
    end = file.end
    best = Boxes()
    cut: tuple[str, int] | None = None
    last_fragment: tuple[int, int, int] | None = None
    referenced = 0
    for position, kind, start, stop in _top(file, end):
        if kind == b"moov" and stop <= end:
            for track in inside(file, (start, stop), b"trak"):
                handler = next(inside(file, track, b"mdia", b"hdlr"), None)
                if handler is not None and file.read(handler[0] + 8, 4) == b"vide":
                    best = max(best, _track(file, (start, stop), track, end), key=lambda one: one.samples)
        elif kind == b"moof" and stop <= end:
            last_fragment = position, start, stop
        elif kind == b"sidx" and stop <= end:
            referenced = max(referenced, _referenced(file, start, stop))
        if stop > end and kind in (b"mdat", b"moov", b"moof"):
            cut = (kind.decode(), stop)
    if best.cut:
        return best
    if referenced > end:
        return replace(best, cut=f"its segment index ends at byte {referenced}, the file at {end}")
    if cut and cut[0] == "mdat":
        if best.samples and not last_fragment:
            return best
        if last_fragment and (reached := _fragment_end(file, *last_fragment)):
            if reached <= end:
                return best
            return replace(best, cut=f"its last fragment ends at byte {reached}, the file at {end}")
    if cut:
        return replace(best, cut=f"its {cut[0]} box ends at byte {cut[1]}, the file at {end}")
    return best


def _top(file: Reader, end: int) -> Iterator[tuple[int, bytes, int, int]]:
    """Start, kind and content of the top-level boxes (4.2); the last may reach beyond the end of the file."""
    position = 0
    while position + 8 <= end:
        header = file.read(position, 16)
        size, kind, start = int.from_bytes(header[:4], "big"), header[4:8], position + 8
        if size == 1:
            size, start = int.from_bytes(header[8:16], "big"), position + 16
        if size < start - position:  # 0: up to the end of the file
            return
        yield position, kind, start, position + size
        position += size


def inside(file: Reader, within: tuple[int, int], *path: bytes) -> Iterator[tuple[int, int]]:
    """Positions of the boxes at this path."""
    for kind, start, stop in _boxes(file, *within):
        if kind == path[0]:
            if len(path) == 1:
                yield start, stop
            else:
                yield from inside(file, (start, stop), *path[1:])


def _boxes(file: Reader, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while position + 8 <= end:
        header = file.read(position, 16)
        size, kind, content = int.from_bytes(header[:4], "big"), header[4:8], position + 8
        if size == 1:
            size, content = int.from_bytes(header[8:16], "big"), position + 16
        if size < content - position or position + size > end:
            return
        yield kind, content, position + size
        position += size


def _rows(file: Reader, box: tuple[int, int], columns: int, *, head: int = 4, kind: str = ">u4") -> _Numbers:
    """Table of a box after `head` bytes and its row count, up to the rows that are there."""
    start, stop = box
    at = start + head + 4
    width = np.dtype(kind).itemsize * columns
    count = min(file.number(start + head), max(0, min(stop - at, _TABLE)) // width)
    found = np.frombuffer(file.read(at, count * width), kind).astype(np.uint64)
    return np.minimum(found, np.uint64(_FAR)).astype(np.int64).reshape(-1, columns)


def _track(file: Reader, movie: tuple[int, int], track: tuple[int, int], end: int) -> Boxes:
    table = next(inside(file, track, b"mdia", b"minf", b"stbl"), None)
    index = next(inside(file, table, b"stsz"), None) if table else None
    if table is None or index is None:
        return Boxes()
    fixed, samples = min(file.number(index[0] + 4), _LARGEST), file.number(index[0] + 8)  # 8.7.3
    sizes = _rows(file, index, 1, head=8)[:, 0] if not fixed else np.empty(0, np.int64)
    listed = samples if fixed else min(samples, len(sizes))
    ends = np.concatenate([[0], np.cumsum(sizes)]) if not fixed else np.empty(0, np.int64)

    def before(sample: _Numbers) -> _Numbers:
        sample = np.minimum(sample, listed)
        return sample * fixed if fixed else ends[sample]

    offsets = _offsets(file, table)
    first = np.concatenate([[0], np.cumsum(_per_chunk(file, table, len(offsets)))])
    reached = offsets + before(first[1:]) - before(first[:-1])
    held = before(first[1:]) > before(first[:-1])
    if np.any(reached[held] > end):
        last = int(reached[held].max())
        return Boxes(samples, 0, f"its index has frames up to byte {last}, the file ends at {end}")
    return Boxes(samples, _shown(file, movie, track, table, samples))


def _offsets(file: Reader, table: tuple[int, int]) -> _Numbers:
    """Where each chunk begins (8.7.5)."""
    for kind, number in ((b"stco", ">u4"), (b"co64", ">u8")):
        for box in inside(file, table, kind):
            return _rows(file, box, 1, kind=number)[:, 0]
    return np.empty(0, np.int64)


def _per_chunk(file: Reader, table: tuple[int, int], chunks: int) -> _Numbers:
    """Samples in each chunk (8.7.4)."""
    box = next(inside(file, table, b"stsc"), None)
    rows = _rows(file, box, 3) if box else np.empty((0, 3), np.int64)
    begins = np.clip(rows[:, 0] - 1, 0, chunks)
    lengths = np.diff(np.concatenate([begins, [chunks]]))
    if len(rows) == 0 or begins[0] or np.any(lengths < 0):
        return np.zeros(chunks, np.int64)
    return np.repeat(rows[:, 1], lengths)


def _shown(
    file: Reader, movie: tuple[int, int], track: tuple[int, int], table: tuple[int, int], samples: int
) -> int:
    """Samples that the edit list shows (8.6.6), by their times of composition (8.6.1)."""
    edit = next(inside(file, track, b"edts", b"elst"), None)
    if edit is None:
        return samples
    wide = file.number(edit[0], 1) == 1
    rows = _rows(file, edit, 5 if wide else 3)
    if wide:
        rows = np.stack([(rows[:, 0] << 32) + rows[:, 1], (rows[:, 2] << 32) + rows[:, 3]], axis=1)
    rows = rows[rows[:, 1] >> (63 if wide else 31) == 0]  # others have a negative time and show nothing
    stts = next(inside(file, table, b"stts"), None)
    movie_clock = _clock(file, next(inside(file, movie, b"mvhd"), None))
    clock = _clock(file, next(inside(file, track, b"mdia", b"mdhd"), None))
    if len(rows) != 1 or stts is None or not movie_clock or not clock or samples > _TABLE // 4:
        return 0
    counts, deltas = _rows(file, stts, 2).T
    if counts.sum() != samples:
        return 0
    times = np.cumsum(np.repeat(deltas, counts))
    times = np.concatenate([[0], times[:-1]])
    if (ctts := next(inside(file, table, b"ctts"), None)) is not None:
        counts, later = _rows(file, ctts, 2).T
        if counts.sum() != samples:
            return 0
        # They are unsigned in version 0, but writers store negative ones there as well.
        times = times + np.repeat(np.where(later >= 1 << 31, later - (1 << 32), later), counts)
    begin = int(rows[0, 1])
    length = int(rows[0, 0]) * clock / movie_clock
    shown = (times >= begin) & ((times < begin + length) if length else True)
    return int(np.count_nonzero(shown))


def _clock(file: Reader, box: tuple[int, int] | None) -> int:
    """Ticks per second of ``mvhd`` (8.2.2) or ``mdhd`` (8.4.2)."""
    if box is None:
        return 0
    return file.number(box[0] + (20 if file.number(box[0], 1) == 1 else 12))


def _referenced(file: Reader, start: int, stop: int) -> int:
    """Where the last subsegment of a segment index ends (8.16.3)."""
    wide = file.number(start, 1) == 1
    at = start + 12 + (16 if wide else 8)
    first = file.number(start + 12 + (8 if wide else 4), 8 if wide else 4)
    count = min(file.number(at + 2, 2), max(0, stop - at - 4) // 12)
    sizes = np.frombuffer(file.read(at + 4, count * 12), ">u4")[::3] & 0x7FFFFFFF
    return stop + first + int(sizes.sum(dtype=np.int64))


def _fragment_end(file: Reader, position: int, start: int, stop: int) -> int:
    """Where the samples of a movie fragment end (8.8.4 to 8.8.8); 0: unknown."""
    reached = 0
    for track in inside(file, (start, stop), b"traf"):
        header = next(inside(file, track, b"tfhd"), None)
        if header is None:
            return 0
        flags = file.number(header[0] + 1, 3)
        base, at = position, header[0] + 8
        if flags & 0x1:
            base, at = min(file.number(at, 8), _FAR), at + 8
        at += 4 * bool(flags & 0x2) + 4 * bool(flags & 0x8)
        size = file.number(at) if flags & 0x10 else 0
        ends = base
        for run in inside(file, track, b"trun"):
            flags = file.number(run[0] + 1, 3)
            count, at = file.number(run[0] + 4), run[0] + 8
            if flags & 0x1:
                offset = int.from_bytes(file.read(at, 4), "big", signed=True)
                ends, at = base + offset, at + 4
            at += 4 * bool(flags & 0x4)
            columns = (flags >> 8 & 0xF).bit_count()
            if flags & 0x200:
                width = 4 * columns
                count = min(count, max(0, min(run[1] - at, _TABLE)) // width)
                rows = np.frombuffer(file.read(at, count * width), ">u4").astype(np.int64)
                ends += int(rows[bool(flags & 0x100) :: columns].sum())
            elif size:
                ends += count * size
            else:
                return 0
            reached = max(reached, ends)
    return reached
