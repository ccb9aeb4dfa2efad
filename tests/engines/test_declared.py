"""Declared lengths: whole files are accepted, cut ones are detected, doubtful ones are reported."""

from __future__ import annotations

import math
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support import media

from vmafarm.engines.declared import Declared, declared_seconds, missing, read_declared, shortfall
from vmafarm.engines.ffmpeg_arguments import input_arguments
from vmafarm.engines.ffmpeg_report import Report, read_report
from vmafarm.engines.judge import judge

Clips = Callable[[str], Path]
FRAMES = 25
_X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "5", "-pix_fmt", "yuv420p")
SOUND: dict[str, tuple[str, ...]] = {
    "faststart.mp4": (*_X264, "-bf", "0", "-movflags", "+faststart"),
    "b_frames.mp4": (*_X264, "-bf", "2", "-movflags", "+faststart"),
    "negative.mp4": (*_X264, "-bf", "2", "-movflags", "+negative_cts_offsets"),
    "faststart.mov": (*_X264, "-bf", "0", "-movflags", "+faststart"),
    "fragments.mp4": (*_X264, "-bf", "0", "-movflags", "frag_keyframe+empty_moov"),
    "sidx.mp4": (*_X264, "-bf", "0", "-movflags", "frag_keyframe+dash+global_sidx+delay_moov"),
    "hevc.mp4": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:keyint=5",
                 "-pix_fmt", "yuv420p", "-movflags", "+faststart"),
    "av1.mp4": ("-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-g", "5",
                "-pix_fmt", "yuv420p", "-movflags", "+faststart"),
    "jpegs.avi": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
    "b_frames.avi": ("-c:v", "mpeg4", "-bf", "2"),
    "drops.avi": ("-vf", "select='not(eq(mod(n,5),3))'", "-fps_mode", "passthrough", "-c:v", "mpeg4"),
    "alternate.webm": ("-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "16", "-cpu-used", "8"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "5"),
    "vp9.ivf": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "5"),
    "slow.flv": ("-r", "5", *_X264, "-bf", "2"),
    "h263.flv": ("-c:v", "flv1"),
    "wmv2.wmv": ("-c:v", "wmv2"),
    "theora.ogv": ("-c:v", "libtheora", "-pix_fmt", "yuv420p"),
    "mpeg2.mxf": ("-c:v", "mpeg2video", "-pix_fmt", "yuv420p"),
    "mpeg2.ts": ("-c:v", "mpeg2video", "-pix_fmt", "yuv420p"),
}  # fmt: skip
"""Sound files of all containers, of 25 frames each."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("declared")

    def make(name: str) -> Path:
        path = folder / name
        if not path.exists():
            source = ("-f", "lavfi", "-i", "mandelbrot=s=128x96:r=25")
            media.run_ffmpeg(*source, "-frames:v", str(FRAMES), *SOUND[name], path)
        return path

    return make


def look(path: Path) -> tuple[Report, str, str]:
    """Decode it; what ffmpeg reports, why the clip fails, and how it is short."""
    graph = ("-lavfi", "[0:V:0]null[out]", "-map", "[out]", "-fps_mode", "passthrough", "-f", "null", "-")
    command = [*input_arguments(Path(media.FFMPEG), path, 1 << 24), *graph]
    finished = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    report = read_report(finished.stderr.decode(errors="replace"))
    declared = read_declared(path)
    problem = judge(report, finished.returncode)
    return report, problem[1] if problem else missing(declared, report), shortfall(declared, report)


def wrote(folder: Path, data: bytes, name: str = "clip") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def boxes(data: bytes) -> list[tuple[int, int, bytes]]:
    """Begin, end and kind of the top-level boxes."""
    found, at = [], 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        found.append((at, at + size, kind))
        at += size
    return found


# Sound files


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_file_is_neither_cut_nor_short(sound: Callable[[str], Path], name: str) -> None:
    report, cut, short = look(sound(name))
    assert (report.frames, cut, short, report.damaged) == (FRAMES, "", "", "")


@pytest.mark.parametrize(
    "name",
    [name for name in list(media.CLIPS)[:-13] if name not in ("no_frames.mp4", "16x16.mkv")
     and not name.startswith(("audio", "empty", "random"))],
)  # fmt: skip
def test_no_sound_clip_of_the_other_tests_is_cut_or_short(clips: Clips, name: str) -> None:
    report, cut, short = look(clips(name))
    assert report.frames
    assert (cut, short, report.damaged) == ("", "", "")


@pytest.mark.parametrize("name", ["b_frames.mp4", "hevc.mp4"])
def test_frames_that_an_edit_list_hides_are_not_missed(
    sound: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    trimmed = tmp_path / "trimmed.mp4"
    media.run_ffmpeg("-ss", "0.48", "-i", sound(name), "-t", "0.28", "-c", "copy", trimmed)
    declared = read_declared(trimmed)
    report, cut, short = look(trimmed)
    assert declared.samples > report.frames == declared.frames
    assert (cut, short) == ("", "")


def test_sound_that_goes_on_for_a_moment_makes_no_clip_short(tmp_path: Path) -> None:
    for container in ("mkv", "flv", "mp4"):
        path = tmp_path / f"longer.{container}"
        tone = ("-f", "lavfi", "-i", "sine=440:d=1.12")
        video = ("-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=1")
        media.run_ffmpeg(*video, *tone, *_X264, "-c:a", "aac", path)
        assert look(path)[1:] == ("", "")


# Whole files that overstate a size


def overstate_mdat(data: bytes, by: int) -> bytes:
    at = next(at for at, _, kind in boxes(data) if kind == b"mdat")
    return data[:at] + struct.pack(">I", struct.unpack_from(">I", data, at)[0] + by) + data[at + 4 :]


@pytest.mark.parametrize("by", [1, 8, 100_000])
@pytest.mark.parametrize("name", ["faststart.mp4", "faststart.mov"])
def test_the_index_counts_and_not_the_size_of_mdat(
    sound: Callable[[str], Path], tmp_path: Path, name: str, by: int
) -> None:
    report, cut, short = look(wrote(tmp_path, overstate_mdat(sound(name).read_bytes(), by), name))
    assert (report.frames, cut, short) == (FRAMES, "", "")


@pytest.mark.parametrize("name", ["faststart.mp4", "fragments.mp4"])
def test_the_rest_of_an_older_file_cuts_nothing(
    sound: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    rest = struct.pack(">I4s", 5000, b"mdat") + bytes(100)
    report, cut, short = look(wrote(tmp_path, sound(name).read_bytes() + rest, name))
    assert (report.frames, cut, short) == (FRAMES, "", "")


def test_the_last_fragment_counts_and_not_the_size_of_its_mdat(
    sound: Callable[[str], Path], tmp_path: Path
) -> None:
    data = sound("fragments.mp4").read_bytes()
    start, end, _ = [box for box in boxes(data) if box[2] == b"mdat"][-1]
    overstated = data[:start] + struct.pack(">I", end - start + 8) + data[start + 4 : end]
    assert read_declared(wrote(tmp_path, overstated)).cut == ""
    cut = read_declared(wrote(tmp_path, overstated[:-1])).cut
    assert cut == f"its last fragment ends at byte {end}, the file at {end - 1}"


@pytest.mark.parametrize("by", [1, 8, 1_000_000])
@pytest.mark.parametrize("name", ["jpegs.avi", "b_frames.avi", "drops.avi"])
def test_the_index_counts_and_not_the_size_of_an_avi(
    sound: Callable[[str], Path], tmp_path: Path, name: str, by: int
) -> None:
    data = bytearray(sound(name).read_bytes())
    struct.pack_into("<I", data, 4, len(data) - 8 + by)
    report, cut, short = look(wrote(tmp_path, bytes(data), name))
    assert (report.frames, cut, short) == (FRAMES, "", "")


@pytest.mark.parametrize("name", ["jpegs.avi", "b_frames.avi", "drops.avi"])
def test_an_avi_that_lost_its_index_alone_is_whole(
    sound: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    data = sound(name).read_bytes()
    without = data[: data.rfind(b"idx1")]
    report, cut, short = look(wrote(tmp_path, without, name))
    assert (report.frames, cut, short) == (FRAMES, "", "")


def test_an_avi_with_an_index_is_not_judged_by_its_header(
    sound: Callable[[str], Path], tmp_path: Path
) -> None:
    data = bytearray(sound("jpegs.avi").read_bytes())
    struct.pack_into("<I", data, data.find(b"strh") + 8 + 32, FRAMES + 5)
    report, cut, short = look(wrote(tmp_path, bytes(data), "clip.avi"))
    assert (report.frames, cut, short) == (FRAMES, "", "")
    assert read_declared(tmp_path / "clip.avi").frames == FRAMES


def test_an_avi_without_a_frame_is_cut_by_its_header(sound: Callable[[str], Path], tmp_path: Path) -> None:
    data = sound("jpegs.avi").read_bytes()
    last = data[: data.rfind(b"idx1")].rfind(b"00dc")
    between = read_declared(wrote(tmp_path, data[:last]))
    assert between.absent == f"its header counts {FRAMES} frames, the file holds {FRAMES - 1}"
    within = read_declared(wrote(tmp_path, data[: last + 20]))
    assert within.cut == between.absent


# Cut files, and files whose end is zeros


@pytest.mark.parametrize("name", ["faststart.mp4", "b_frames.mp4", "faststart.mov", "hevc.mp4", "av1.mp4"])
def test_a_cut_between_two_packets_is_found_by_the_index(
    sound: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    data = sound(name).read_bytes()
    sizes = media.mp4_packet_sizes(data)
    start = next(at for at, _, kind in boxes(data) if kind == b"mdat") + 8
    for packets in (FRAMES - 1, FRAMES // 2):
        cut = read_declared(wrote(tmp_path, data[: start + sum(sizes[:packets])], name)).cut
        assert cut.startswith(f"its index has frames up to byte {start + sum(sizes)}, the file ends at ")


@pytest.mark.parametrize("fragments", [1, 2, 4])
def test_fragments_that_are_missing_are_found_by_the_segment_index(
    sound: Callable[[str], Path], tmp_path: Path, fragments: int
) -> None:
    data = sound("sidx.mp4").read_bytes()
    begins = [at for at, _, kind in boxes(data) if kind == b"moof"]
    path = wrote(tmp_path, data[: begins[-fragments]], "clip.mp4")
    report, cut, _ = look(path)
    assert 0 < report.frames < FRAMES
    assert cut.startswith("its segment index ends at byte ")


def test_a_damaged_size_in_the_index_is_found(sound: Callable[[str], Path], tmp_path: Path) -> None:
    data = bytearray(sound("faststart.mp4").read_bytes())
    struct.pack_into(">I", data, data.find(b"stsz") + 16 + 4 * 2, 0x7FFFFFFF)
    assert look(wrote(tmp_path, bytes(data), "clip.mp4"))[1].startswith("its index has frames up to byte ")


def end_of_zeros(path: Path, folder: Path) -> Path:
    data = path.read_bytes()
    keep = len(data) * 6 // 10
    return wrote(folder, data[:keep] + bytes(len(data) - keep), path.name)


def cut_off(path: Path, folder: Path) -> Path:
    data = path.read_bytes()
    return wrote(folder, data[: len(data) * 6 // 10], path.name)


@pytest.mark.parametrize("change", [end_of_zeros, cut_off])
@pytest.mark.parametrize(
    "name",
    ["faststart.mp4", "b_frames.mp4", "faststart.mov", "hevc.mp4", "av1.mp4", "jpegs.avi", "b_frames.avi"],
)
def test_an_index_that_counts_more_frames_than_came_out_is_a_failure(
    sound: Callable[[str], Path], tmp_path: Path, name: str, change: Callable[[Path, Path], Path]
) -> None:
    report, cut, _ = look(change(sound(name), tmp_path))
    assert report.frames < FRAMES
    assert cut


@pytest.mark.parametrize("change", [end_of_zeros, cut_off])
@pytest.mark.parametrize(
    "name", ["vp9.webm", "vp9.ivf", "h263.flv", "wmv2.wmv", "theora.ogv", "mpeg2.mxf", "alternate.webm"]
)
def test_a_file_that_only_declares_its_length_fails_or_is_reported(
    sound: Callable[[str], Path], tmp_path: Path, name: str, change: Callable[[Path, Path], Path]
) -> None:
    report, cut, short = look(change(sound(name), tmp_path))
    assert report.frames < FRAMES
    assert cut or short


def test_durations_come_from_the_file_alone(sound: Callable[[str], Path], tmp_path: Path) -> None:
    for name, seconds in {"wmv2.wmv": 1.0, "h263.flv": 1.0, "vp9.webm": 1.0, "mpeg2.mxf": 1.0}.items():
        report, *_ = look(sound(name))
        assert declared_seconds(read_declared(sound(name)), report) == pytest.approx(seconds, abs=0.05), name
    report, *_ = look(sound("mpeg2.ts"))  # ffmpeg takes it from the last packets
    assert report.duration
    assert math.isnan(declared_seconds(read_declared(sound("mpeg2.ts")), report))
    cut = cut_off(sound("wmv2.wmv"), tmp_path)  # ffmpeg does not believe the header then
    assert look(cut)[0].duration == 0
    assert declared_seconds(read_declared(cut), look(cut)[0]) == pytest.approx(1.0, abs=0.05)


# The rules by themselves

REPORT = Report(
    True, 128, 96, "yuv420p", 8, 25.0, 2.0, 50, 50, 0, 0, "", (), container="matroska,webm", shown_seconds=2.0
)


@pytest.mark.parametrize(
    ("declared", "frames", "shown", "short"),
    [
        (Declared(frames=50), 48, 2.0, ""),  # the first frames may have nothing to refer to
        (Declared(frames=50), 47, 2.0, "47 frames, the file counts 50"),
        (Declared(frames=50), 25, 1.0, ""),  # fields
        (Declared(), 46, 1.85, ""),
        (Declared(), 44, 1.76, "the video ends at 1.76 s, the file says 2.00 s"),
        (Declared(seconds=3.0), 50, 2.0, "the video ends at 2.00 s, the file says 3.00 s"),
        (Declared(), 50, 0.0, ""),  # an ffmpeg that does not say when the last frame ends
        (Declared(unended=True), 50, 2.0, "the stream has no last page"),
    ],
)
def test_what_is_short(declared: Declared, frames: int, shown: float, short: str) -> None:
    assert shortfall(declared, replace(REPORT, frames=frames, shown_seconds=shown)) == short


@pytest.mark.parametrize(
    ("frames", "shown", "damaged", "cut"),
    [
        (35, 1.4, "bad OBU", "its index counts 50 frames, 35 came out: bad OBU"),
        (35, 1.4, "", ""),  # not decoded for a reason that is none of damage
        (35, 2.0, "bad OBU", ""),  # frames in the middle are missing: reported, not a failure
        (48, 1.9, "bad OBU", ""),
    ],
)
def test_what_is_cut(frames: int, shown: float, damaged: str, cut: str) -> None:
    report = replace(REPORT, frames=frames, shown_seconds=shown, damaged=damaged)
    assert missing(Declared(frames=50), report) == cut


def test_an_index_that_shows_a_cut_needs_no_report() -> None:
    assert missing(Declared(cut="its mdat box ends"), REPORT) == "its mdat box ends"


@pytest.mark.parametrize(("frames", "cut"), [(50, ""), (49, "the file holds 7")])
def test_frames_that_ffmpeg_found_are_not_absent(frames: int, cut: str) -> None:
    assert missing(Declared(frames=50, absent="the file holds 7"), replace(REPORT, frames=frames)) == cut


def test_an_avi_file_with_a_damaged_list_has_the_frames_that_ffmpeg_finds(
    sound: Callable[[str], Path], tmp_path: Path
) -> None:
    data = sound("jpegs.avi").read_bytes()
    movie = data.index(b"movi") - 8
    clip = wrote(tmp_path, data[:movie] + bytes(64) + data[movie : data.rfind(b"idx1")], "inserted.avi")
    assert read_declared(clip).absent == f"its header counts {FRAMES} frames, the file holds 0"
    report, cut, short = look(clip)
    assert (report.frames, cut, short) == (FRAMES, "", "")
