"""Whether a clip can be read, and what its container and a .y4m file say of themselves."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from support import media

from vmafarm.engines import media_files as files
from vmafarm.engines.declared import read_declared
from vmafarm.engines.failure import ClipFailedError
from vmafarm.engines.media_files import RawVideo, check_readable, check_unchanged, read_through, read_y4m

Clips = Callable[[str], Path]


def box(kind: bytes, size: int, declared: int | None = None) -> bytes:
    return struct.pack(">I4s", declared if declared is not None else size, kind) + bytes(size - 8)


def wrote(folder: Path, data: bytes) -> Path:
    path = folder / "clip"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["plain.mp4", "no_frames.mp4", "cut.mkv", "random.mp4", "empty.mp4"])
def test_whole_mp4_and_other_files_show_no_cut(clips: Clips, name: str) -> None:
    assert read_declared(clips(name)).cut == ""


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("cut.mp4", "its index has frames up to byte "),
        ("cut_on_packet.mp4", "its index has frames up to byte "),
        ("cut_before_index.mp4", "its mdat box ends at byte "),
    ],
)
def test_cut_mp4_is_shown_by_its_index_or_its_box(clips: Clips, name: str, begins: str) -> None:
    path = clips(name)
    end = path.stat().st_size
    assert read_declared(path).cut.startswith(begins)
    assert read_declared(path).cut.endswith(f" {end}")


def test_cut_avi_is_shown_by_its_head(tmp_path: Path) -> None:
    whole = media.make_clip(tmp_path / "whole.avi", size="160x120").read_bytes()
    assert read_declared(tmp_path / "whole.avi").cut == ""
    cut = wrote(tmp_path, whole[: len(whole) // 2])
    assert read_declared(cut).cut.startswith("its header counts 10 frames, the file holds ")


def test_avi_written_as_a_stream_has_no_size_to_compare(tmp_path: Path) -> None:
    for unknown in (0, 0xFFFFFFFF):
        path = wrote(tmp_path, b"RIFF" + struct.pack("<I", unknown) + b"AVI LIST")
        assert read_declared(path).cut == ""
    path = wrote(tmp_path, b"RIFF" + struct.pack("<I", 16) + b"AVI LIST")
    assert read_declared(path).cut == "its RIFF chunk ends at byte 24, the file at 16"


@pytest.mark.parametrize(
    ("data", "cut"),
    [
        (box(b"ftyp", 16) + box(b"mdat", 40, declared=1) , ""),  # a 64-bit size of 0: nonsense
        (box(b"ftyp", 16) + struct.pack(">I4sQ", 1, b"mdat", 24) + bytes(8), ""),
        (box(b"ftyp", 16) + struct.pack(">I4sQ", 1, b"mdat", 5 << 32) + bytes(8), f"byte {16 + (5 << 32)}"),
        (box(b"ftyp", 16) + box(b"mdat", 40, declared=0), ""),  # up to the end of the file
        (box(b"ftyp", 16) + box(b"moov", 40, declared=41), "its moov box ends at byte 57, the file at 56"),
        (box(b"ftyp", 16) + box(b"moof", 40, declared=41), "its moof box ends at byte 57, the file at 56"),
        (box(b"ftyp", 16) + box(b"free", 40, declared=41), ""),  # nothing of the video is lost
        (box(b"ftyp", 16) + box(b"mdat", 40, declared=7), ""),  # smaller than itself: would never end
        (box(b"ftyp", 16) + b"\0\0\0", ""),
        (box(b"mdat", 16)[:4], ""),
    ],
)  # fmt: skip
def test_boxes_are_read_without_trust(tmp_path: Path, data: bytes, cut: str) -> None:
    found = read_declared(wrote(tmp_path, data)).cut
    assert cut in found
    assert bool(found) == bool(cut)


@pytest.mark.parametrize(
    ("name", "pix_fmt", "expected"),
    [
        ("100x100.mkv", "yuv420p", RawVideo(100, 100, 8, 6)),
        ("odd.mkv", "yuv420p", RawVideo(481, 271, 8, 6)),
        ("ten_bit.mp4", "yuv420p10le", RawVideo(480, 270, 10, 6)),
        ("odd.mkv", "yuv420p10le", RawVideo(481, 271, 10, 6)),
    ],
)
def test_y4m_is_counted_by_its_size(
    clips: Clips, tmp_path: Path, name: str, pix_fmt: str, expected: RawVideo
) -> None:
    assert read_y4m(media.as_y4m(clips(name), tmp_path / "frames.y4m", pix_fmt)) == expected


def test_y4m_that_ends_within_a_frame_is_refused(clips: Clips, tmp_path: Path) -> None:
    path = media.as_y4m(clips("100x100.mkv"), tmp_path / "frames.y4m")
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(ValueError, match=r"ends within a frame: .* bytes, 15006 a frame"):
        read_y4m(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a .y4m file"),
        (b"RIFF....", "not a .y4m file"),
        (b"YUV4MPEG2 W8 H8 F25:1 C444\nFRAME\n", "chroma format 444, expected 420"),
    ],
)
def test_anything_but_420_y4m_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_y4m(wrote(tmp_path, data))


def test_readable_clip_has_a_size(tmp_path: Path) -> None:
    assert check_readable(wrote(tmp_path, b"12345")).bytes == 5


def test_clip_overwritten_with_the_same_size_and_time_has_changed(tmp_path: Path) -> None:
    path = wrote(tmp_path, b"12345")
    before, status = check_readable(path), path.stat()
    check_unchanged(path, before)
    while path.stat().st_ctime_ns == status.st_ctime_ns:  # the clock of a file system has ticks
        path.write_bytes(b"54321")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ClipFailedError, match="written to while it was read") as caught:
        check_unchanged(path, before)
    assert caught.value.failure == "changed"


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.mkdir()


def _dangling(path: Path) -> None:
    path.symlink_to(path.parent / "gone")


def _loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_fifo, "not a regular file"),
        (_folder, "not a regular file"),
        (lambda path: None, "cannot be read: No such file or directory"),
        (_dangling, "cannot be read: No such file or directory"),
        (_loop, "cannot be read: Too many levels of symbolic links"),
    ],
)
def test_what_is_no_file_is_unreadable(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path / "clip.mp4")
    with pytest.raises(ClipFailedError) as caught:
        check_readable(tmp_path / "clip.mp4")
    assert (caught.value.failure, caught.value.message) == ("unreadable", message)


def test_file_without_permission_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wrote(tmp_path, b"12345")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    with pytest.raises(ClipFailedError, match="no permission to read it") as caught:
        check_readable(path)
    assert caught.value.failure == "unreadable"


def test_empty_file_is_a_fault_of_the_clip(tmp_path: Path) -> None:
    with pytest.raises(ClipFailedError, match="the file is empty") as caught:
        check_readable(wrote(tmp_path, b""))
    assert caught.value.failure == "decode_error"


def test_reading_error_in_the_middle_is_unreadable() -> None:
    with pytest.raises(ClipFailedError, match="cannot be read: Input/output error") as caught:
        read_through(Path("/proc/self/mem"), 60.0)  # opens, but its first page is not there
    assert caught.value.failure == "unreadable"


def sparse(path: Path) -> Path:
    """A file of one byte and then a hole, as large as the file system allows (ext4: 16 TB, tmpfs: 8 EB)."""
    path.write_bytes(b"x")
    for exponent in (62, 53, 43):
        try:
            os.truncate(path, 2**exponent - 1)
        except OSError:
            continue
        return path
    raise AssertionError("no large files here")


def test_a_hole_of_any_size_is_passed_over(tmp_path: Path) -> None:
    read_through(sparse(tmp_path / "clip.mp4"), 100_000.0)


def test_a_file_system_that_does_not_tell_of_holes_is_read_up_to_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_to_data", lambda file: True)
    with pytest.raises(ClipFailedError, match="reading it to its end took over 0 s") as caught:
        read_through(sparse(tmp_path / "clip.mp4"), 0.01)
    assert caught.value.failure == "timeout"
