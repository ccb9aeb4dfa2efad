"""Containers, damaged or hostile: what they say of their length is read or left, in bounded work."""

from __future__ import annotations

import functools
import math
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import media
from support.damage import damaged, fuzz

from vmafarm.engines.boxes import read_boxes
from vmafarm.engines.chunks import read_chunks
from vmafarm.engines.declared import Declared, read_declared
from vmafarm.engines.reader import Reader, TooManyReadsError

_X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "4", "-pix_fmt", "yuv420p")
SOURCES = {
    "index.mp4": (*_X264, "-bf", "2", "-movflags", "+faststart"),
    "index_behind.mov": (*_X264, "-bf", "0"),
    "fragments.mp4": (*_X264, "-movflags", "frag_keyframe+empty_moov"),
    "sidx.mp4": (*_X264, "-movflags", "frag_keyframe+dash+global_sidx+delay_moov"),
    "jpegs.avi": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
    "wmv2.wmv": ("-c:v", "wmv2"),
    "theora.ogv": ("-c:v", "libtheora", "-pix_fmt", "yuv420p"),
}


@functools.cache
def source(name: str) -> bytes:
    """A file of eight frames of 64x48."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        picture = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25", "-frames:v", "8")
        media.run_ffmpeg(*picture, *SOURCES[name], path)
        return path.read_bytes()


def check(content: bytes) -> Declared:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        found = read_declared(Path(file.name))
    assert 0 <= found.frames <= max(found.samples, found.frames) < 1 << 32
    assert math.isnan(found.seconds) or 0 < found.seconds < 1e13
    assert found.cut.isprintable()
    return found


@pytest.mark.parametrize("name", SOURCES)
@fuzz
@given(data=st.data())
def test_a_damaged_container_is_read_or_left(name: str, data: st.DataObject) -> None:
    check(data.draw(damaged(source(name))))


@pytest.mark.parametrize("name", SOURCES)
def test_a_container_cut_anywhere_is_read_or_left(name: str) -> None:
    content = source(name)
    assert check(content).cut == ""
    for length in range(0, len(content), max(1, len(content) // 150)):
        check(content[:length])


FIELDS = st.sampled_from([0, 1, 2, 7, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])


@pytest.mark.parametrize("name", [name for name in SOURCES if name.endswith(("mp4", "mov"))])
@fuzz
@given(data=st.data())
def test_any_number_in_any_box_is_read_without_trust(name: str, data: st.DataObject) -> None:
    content = bytearray(source(name))
    kinds = (
        b"stsz",
        b"stco",
        b"stsc",
        b"stts",
        b"ctts",
        b"elst",
        b"mvhd",
        b"mdhd",
        b"sidx",
        b"tfhd",
        b"trun",
    )
    kind = data.draw(st.sampled_from([kind for kind in kinds if kind in content]))
    at = content.find(kind) + 4 * data.draw(st.integers(-1, 12))
    struct.pack_into(">I", content, min(at, len(content) - 4), data.draw(FIELDS))
    check(bytes(content))


@fuzz
@given(
    head=st.sampled_from(
        [b"\0\0\0\x08ftyp", b"\0\0\0\x01mdat", b"RIFF\xff\xff\xff\x7fAVI ", b"OggS\0\2",
         bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")]
    ),
    body=st.binary(max_size=400),
)  # fmt: skip
def test_any_bytes_behind_a_known_beginning_are_read_or_left(head: bytes, body: bytes) -> None:
    check(head + body)


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def track(stsz: bytes) -> bytes:
    handler = box(b"hdlr", bytes(8) + b"vide")
    return box(b"moov", box(b"trak", box(b"mdia", handler + box(b"minf", box(b"stbl", box(b"stsz", stsz))))))


def test_a_count_of_four_billion_takes_no_memory() -> None:
    for size in (0, 1):
        found = check(box(b"ftyp", b"") + track(struct.pack(">4xII", size, 0xFFFFFFFF)))
        assert (found.samples, found.cut) == (0xFFFFFFFF, "")


def test_the_work_is_bounded_whatever_a_file_holds(tmp_path: Path) -> None:
    many = 5_000
    head = struct.pack("<4sI4s", b"LIST", 72, b"hdrl") + struct.pack("<4sI4s", b"LIST", 60, b"strl")
    head += struct.pack("<4sI4s28xI12x", b"strh", 48, b"vids", 5)
    movie = struct.pack("<4sI4s", b"LIST", 1 << 29, b"movi") + struct.pack("<4sI", b"00dc", 0) * many
    avi = b"RIFF" + struct.pack("<I", 1 << 30) + b"AVI "
    for look, content in (
        (read_boxes, box(b"ftyp", b"") * many),
        (read_boxes, box(b"moov", box(b"trak", box(b"mdia", b"") * many))),
        (read_chunks, avi + struct.pack("<4sI", b"JUNK", 0) * many),
        (read_chunks, avi + head + movie),
    ):
        path = tmp_path / "file"
        path.write_bytes(content)
        with path.open("rb") as file:
            look(Reader(file, 2 * many + 100))
            with pytest.raises(TooManyReadsError):
                look(Reader(file, many - 100))


def test_a_file_that_takes_too_long_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reader.__init__, "__defaults__", (5,))
    assert check(source("index.mp4")) == check(b"")
