"""Programs that exceed a limit are stopped, distinguished from other faults, and leave nothing behind."""

from __future__ import annotations

import dataclasses
import shlex
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standin.vmaf import read_calls, write_standin
from support import media
from support.engine_helpers import FFMPEG, failure, ffmpeg_engine, score, vmaf_engine, write_program
from support.processes import alive_in_group

from vmafarm.config.clip_limits import DEFAULT_LIMITS, Limits, log_bytes, parse_bytes
from vmafarm.config.sections import ExtractSection
from vmafarm.engines import media_files as files
from vmafarm.engines.base import Engine
from vmafarm.engines.declared import read_declared
from vmafarm.engines.failure import ClipFailedError
from vmafarm.engines.ffmpeg_arguments import count_arguments, decode_arguments, read_count, y4m_arguments
from vmafarm.engines.ffmpeg_report import read_report
from vmafarm.engines.vmaf import VmafEngine
from vmafarm.process.process_limits import Ceiling, show_bytes
from vmafarm.process.run import Stop, Stopped, run
from vmafarm.scoring import extract as extract_module
from vmafarm.scoring.decode import Programs

Clips = Callable[[str], Path]
MB = 1 << 20
pytestmark = [pytest.mark.full, pytest.mark.usefixtures("no_child_left")]


def limited(engine: Engine, **limits: int) -> Engine:
    return dataclasses.replace(engine, limits=dataclasses.replace(DEFAULT_LIMITS, **limits))


def broken(folder: Path, how: str, **settings: Any) -> VmafEngine:
    return vmaf_engine(write_standin(folder / "standin", misbehave=how, spares_probe=True, **settings))


# Pixels, frames, disk


@pytest.mark.parametrize(
    ("side", "words"),
    [
        (9000, f"frames of 9000x9000: more than extract.max_pixels = {DEFAULT_LIMITS.max_pixels}"),
        (16384, "frames of 16384x16384: ffmpeg does not support this size"),
        (2**31 - 1, "frames of 2147483647x2147483647: ffmpeg does not support this size"),
    ],
)
def test_bomb_of_giant_frames_is_too_large(tmp_path: Path, engine: Engine, side: int, words: str) -> None:
    bomb = media.giant_frames(tmp_path / "bomb.mkv", side)
    assert bomb.stat().st_size < 2000
    error = failure(engine, bomb, tmp_path)
    assert (error.failure, error.message, error.limit) == ("too_large", words, "max_pixels")


def test_giant_frames_are_refused_before_they_take_memory(tmp_path: Path, engine: Engine) -> None:
    bomb = media.giant_frames(tmp_path / "bomb.mkv", 9000)  # 81 MB a frame
    assert failure(limited(engine, engine_memory=70 * MB), bomb, tmp_path).failure == "too_large"


def test_8k_is_not_too_large() -> None:
    for width, height in ((8192, 4320), (8192, 4352), (7680, 4320)):
        assert width * height <= DEFAULT_LIMITS.max_pixels


def test_more_frames_than_the_limit_are_too_large_and_the_limit_itself_is_not(
    clip: Path, tmp_path: Path, engine: Engine
) -> None:
    error = failure(limited(engine, max_frames=5), clip, tmp_path)
    assert (error.failure, error.limit) == ("too_large", "max_frames")
    assert error.message == "more than 5 frames: extract.max_frames = 5"
    assert score(limited(engine, max_frames=6), clip, tmp_path).frames == 6


def test_ten_million_frames_of_an_index_are_too_large_at_once(tmp_path: Path, engine: Engine) -> None:
    bomb = media.many_frames(tmp_path / "bomb.mp4", 10_000_000)
    assert bomb.stat().st_size < 20_000
    engine = dataclasses.replace(engine, ffmpeg=tmp_path / "not-there")  # nothing is started for it
    error = failure(engine, bomb, tmp_path)
    assert (error.failure, error.message) == ("too_large", "10,000,000 frames: extract.max_frames = 20000")


def test_frames_without_an_index_stop_at_the_limit(tmp_path: Path, engine: Engine) -> None:
    # 20,000 empty frames in 400 kB of an elementary stream, which has no index.
    many = tmp_path / "many.h264"
    options = ("-x264-params", "keyint=infinite:scenecut=0:bframes=0", "-bsf:v", "dump_extra")
    media.make_clip(many, size="32x32", source="color", frames=20_000, options=options)
    assert many.stat().st_size < 600_000
    started = time.monotonic()
    error = failure(limited(engine, max_frames=200), many, tmp_path)
    assert (error.failure, error.message) == ("too_large", "more than 200 frames: extract.max_frames = 200")
    assert time.monotonic() - started < 10


def test_time_out_of_a_clip_with_too_many_frames_is_the_clips_own_fault(clip: Path, tmp_path: Path) -> None:
    slow = write_program(
        tmp_path / "ffmpeg",
        f'case "$*" in *libvmaf*) exec sleep 60;; esac; exec {shlex.quote(str(FFMPEG))} "$@"\n',
    )
    engine = ffmpeg_engine(ffmpeg=slow)
    assert failure(limited(engine, max_frames=5), clip, tmp_path, timeout=0.5).failure == "too_large"
    assert failure(limited(engine, max_frames=6), clip, tmp_path, timeout=0.5).failure == "timeout"


def test_frames_are_counted_without_decoding(clips: Clips, tmp_path: Path) -> None:
    for name, frames in (("plain.mp4", 25), ("ten_bit.mkv", 6), ("cover.mp4", 25), ("variable_rate.mkv", 12)):
        command = count_arguments(FFMPEG, clips(name), DEFAULT_LIMITS.max_pixels, 1000)
        (finished,) = run([command], folder=tmp_path, deadline=30)
        assert read_count(finished.stderr) == frames


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("plain.mp4", 25), ("sound_and_picture.mp4", 10), ("one_frame.mp4", 1), ("cover.mp4", 25),
        ("audio_only.mp4", 0), ("ten_bit.mkv", 0), ("empty.mp4", 0), ("random.mp4", 0), ("cut.mp4", 25),
        ("cut_before_index.mp4", 0),
    ],
)  # fmt: skip
def test_index_of_an_mp4_tells_its_frames(clips: Clips, name: str, frames: int) -> None:
    assert read_declared(clips(name)).samples == frames


BOXES = st.deferred(lambda: st.lists(BOX, max_size=3).map(b"".join))
BOX = st.builds(
    lambda kind, size, content: struct.pack(">I4s", len(content) + 8 + size, kind) + content,
    st.sampled_from([b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz", b"hdlr", b"ftyp"]),
    st.sampled_from([0, 0, 0, 0, 1, -1, -8, 2**31]),
    st.one_of(BOXES, st.binary(max_size=30), st.just(b"\0" * 8 + b"vide")),
)


@given(BOXES)
def test_index_that_lies_is_read_without_trust(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\0\0\0\x08ftyp" + data)
        file.flush()
        assert 0 <= read_declared(Path(file.name)).samples < 1 << 32


def test_decoded_frames_never_take_more_disk_than_allowed(clip: Path, tmp_path: Path, standin: Path) -> None:
    frame = 160 * 240 * 3 // 2
    engine = limited(vmaf_engine(standin), max_scratch=3 * frame)
    error = failure(engine, clip, tmp_path)
    assert (error.failure, error.limit) == ("too_large", "max_scratch")
    assert error.message == "its frames take more space than extract.max_scratch = 1 MB"
    assert read_calls(standin) == []
    assert score(limited(engine, max_scratch=7 * frame), clip, tmp_path).frames == 6


# Memory


def test_engine_that_eats_memory_is_killed_and_no_other_clip_pays_for_it(clip: Path, tmp_path: Path) -> None:
    for how in ("eats_memory", "child_eats_memory"):
        engine = limited(broken(tmp_path / how, how, megabytes=100_000), engine_memory=300 * MB)
        started = time.monotonic()
        error = failure(engine, clip, tmp_path)
        assert time.monotonic() - started < 30
        assert (error.failure, error.limit) == ("out_of_memory", "engine_memory")
        assert error.message.startswith("killed with memory: ")
        assert error.message.endswith("B, more than extract.engine_memory")


def test_engine_with_less_memory_than_allowed_is_left_alone(clip: Path, tmp_path: Path) -> None:
    engine = limited(broken(tmp_path, "eats_memory", megabytes=100, seconds=0.5), engine_memory=1000 * MB)
    assert failure(engine, clip, tmp_path).message.startswith("vmaf: exit status 255: had 100 MB (160x240, ")


def test_embedded_engine_that_eats_memory_is_killed(tmp_path: Path) -> None:
    large = media.make_clip(tmp_path / "large.mp4", size="1920x1080", frames=40)
    error = failure(limited(ffmpeg_engine("full"), engine_memory=60 * MB), large, tmp_path)
    assert (error.failure, error.limit) == ("out_of_memory", "engine_memory")


def test_decoder_without_enough_address_space_is_not_the_clips_fault(tmp_path: Path, standin: Path) -> None:
    # Without it decoders skip frames, which looks as if the clip were damaged.
    large = media.make_clip(tmp_path / "large.mp4", size="3840x2160", frames=8)
    none = limited(vmaf_engine(standin), decoder_memory=20 * MB)
    error = failure(none, large, tmp_path)
    assert (error.failure, error.limit) == ("out_of_memory", "decoder_memory")
    assert error.message.endswith("B, more than extract.decoder_memory")
    little = limited(vmaf_engine(Path("/bin/false")), decoder_memory=400 * MB)
    command = [*decode_arguments(FFMPEG, large, 1 << 30, 100), *y4m_arguments("frames.y4m")]
    tight = dataclasses.replace(little.limits.for_decoder(), address_space=150 * MB)
    (finished,) = run([command], folder=tmp_path, deadline=60, ceilings=[tight])
    assert finished.returncode != 0 or read_report(finished.stderr).frames < 8
    assert failure(little, large, tmp_path).failure == "engine_error"  # it was decoded, /bin/false "scored"


def test_fault_of_a_clip_is_found_with_and_without_the_limit(clips: Clips, tmp_path: Path) -> None:
    log = tmp_path / "calls"
    program = write_program(
        tmp_path / "ffmpeg", f'sleep 0.1; ulimit -v >> {log}\nexec {shlex.quote(str(FFMPEG))} "$@"\n'
    )
    error = failure(vmaf_engine(Path("/bin/false"), ffmpeg=program), clips("corrupt.mp4"), tmp_path)
    assert error.failure == "incomplete_decode"
    assert log.read_text().split() == [str(4 << 20), "unlimited"]


# Logs and messages


def test_log_without_end_is_stopped_and_never_read(clip: Path, tmp_path: Path) -> None:
    engine = broken(tmp_path, "log_without_end", megabytes=4096)
    sizes: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            try:
                sizes.append((tmp_path / "scratch/clip-000000.json").stat().st_size)
            except FileNotFoundError:
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    error = failure(engine, clip, tmp_path)
    done.set()
    watcher.join()
    assert (error.failure, error.message) == ("bad_log", "killed because its log grew without end")
    assert max(sizes, default=0) <= 64 * MB


@pytest.mark.parametrize("only_with", ["cuda", "cambi"])
def test_log_without_end_is_stopped_on_cuda_too_where_files_have_no_limit(
    clip: Path, tmp_path: Path, only_with: str
) -> None:
    program = write_standin(
        tmp_path / "standin", misbehave="log_without_end", megabytes=1 << 20, only_with=only_with
    )
    error = failure(vmaf_engine(program, backend="cuda"), clip, tmp_path)
    assert (error.failure, error.message) == ("bad_log", "killed because its log grew without end")
    assert error.limit == ""


def test_each_of_several_children_has_its_own_ceiling(tmp_path: Path) -> None:
    one, other, third = (["sh", "-c", f"head -c 3000000 /dev/zero > {name}; sleep 0.5"] for name in "abc")
    ceilings = [Ceiling(), Ceiling(log=tmp_path / "b", log_size=MB), Ceiling(file_size=MB)]
    finished = run([one, other, third], folder=tmp_path, deadline=30, ceilings=ceilings)
    assert [(child.returncode, str(child.excess or "")) for child in finished] == [
        (0, ""), (-9, "log: 3 MB"), (0, ""),
    ]  # fmt: skip
    assert [(tmp_path / name).stat().st_size for name in "ac"] == [3_000_000, MB]


def test_a_file_that_is_one_hole_is_no_video_however_large_it_is(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    with clip.open("wb") as file:
        file.truncate(1 << 42)
    assert failure(ffmpeg_engine(), clip, tmp_path).failure == "decode_error"


@pytest.mark.parametrize(
    ("size", "timeout", "seconds"),
    [(10, 0.0, 600.0), (10_000_000, 0.0, 3600.0), (1 << 42, 0.0, 86_400.0), (1 << 42, 5.0, 5.0)],
)
def test_the_deadline_of_a_clip_grows_with_its_size_up_to_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, timeout: float, seconds: float
) -> None:
    given = []

    def note(scratch: Path, deadline: float, stop: Stop | None) -> Programs:
        given.append(deadline)
        return Programs(scratch, deadline, stop)

    monkeypatch.setattr(extract_module, "Programs", note)
    clip = tmp_path / "clip.mp4"
    with clip.open("wb") as file:
        file.truncate(size)
    failure(ffmpeg_engine(), clip, tmp_path, timeout=timeout)
    assert [round(one) for one in given] == [seconds]


def test_stop_ends_the_reading_of_a_file_with_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tmp_path / "clip.mp4"
    with clip.open("wb") as file:
        file.truncate(1 << 42)
    monkeypatch.setattr(files, "_to_data", lambda file: True)  # a file system that does not tell of holes
    stop = Stop()
    timer = threading.Timer(1.0, stop.set)
    timer.start()
    started = time.monotonic()
    with pytest.raises(Stopped):
        score(ffmpeg_engine(), clip, tmp_path, stop=stop)
    assert time.monotonic() - started < 10
    timer.join()
    stop.close()


def test_log_that_is_too_long_for_its_frames_is_never_read(clip: Path, tmp_path: Path) -> None:
    error = failure(broken(tmp_path, "log_without_end", megabytes=20), clip, tmp_path)
    assert error.failure == "bad_log"
    most = f"{log_bytes(6):,}"
    assert error.message == f"the log has 20,971,532 bytes, expected at most {most} (160x240, 6 frames)"


@pytest.mark.full
def test_gigabyte_of_messages_is_read_in_little_memory(clip: Path, tmp_path: Path) -> None:
    before = _high_water()
    score(broken(tmp_path, "floods_stderr", megabytes=1024), clip, tmp_path)
    assert _high_water() - before < 50 * MB


def _high_water() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError


# The configuration


def test_limits_are_those_of_the_configuration() -> None:
    assert Limits.of(ExtractSection()) == DEFAULT_LIMITS
    section = ExtractSection(
        max_pixels=1, max_frames=2, max_scratch="3KB", decoder_memory="1.5MiB", engine_memory="4 TB"
    )
    assert Limits.of(section) == Limits(1, 2, 3072, 1_572_864, 4 << 40)
    assert set(DEFAULT_LIMITS.as_dict()) <= set(ExtractSection.model_fields)


@pytest.mark.parametrize(("size", "shown"), [(1, "1 MB"), (300 * MB, "300 MB"), (4 << 30, "4.0 GB")])
def test_sizes_are_shown_with_a_unit(size: int, shown: str) -> None:
    assert show_bytes(size) == shown


def test_sizes_are_read_as_slurm_reads_them() -> None:
    assert parse_bytes("8GB") == parse_bytes("8GiB") == 8 << 30


# Whatever an engine does


MISBEHAVING = {
    "hangs": ("timeout", {}),
    "ignores_sigterm": ("timeout", {}),
    "abort_without_output": ("engine_error", {}),
    "log_cut": ("bad_log", {}),
    "log_without_end": ("bad_log", {"megabytes": 4096}),
    "eats_memory": ("out_of_memory", {"megabytes": 100_000}),
    "child_eats_memory": ("out_of_memory", {"megabytes": 100_000}),
    "forks_child_keeping_pipe": ("", {}),
    "leaves_grandchildren": ("", {}),
    "leaves_grandchildren_and_hangs": ("timeout", {}),
    "floods_stderr": ("", {"megabytes": 16}),
}


@pytest.mark.parametrize("how", MISBEHAVING)
def test_no_process_and_no_file_is_left(clip: Path, tmp_path: Path, how: str) -> None:
    expected, settings = MISBEHAVING[how]
    engine = limited(broken(tmp_path, how, **settings), engine_memory=500 * MB)  # type: ignore[arg-type]
    try:
        score(engine, clip, tmp_path, timeout=2 if expected == "timeout" else 60)  # looks into the folder
        found = ""
    except ClipFailedError as error:
        found = error.failure
    assert found == expected
    assert not alive_in_group(read_calls(engine.vmaf)[0]["pid"])  # type: ignore[attr-defined]


@pytest.mark.parametrize("script", ["exec sleep 60", "trap '' TERM; sleep 60; sleep 60", "yes >&2"])
def test_decoder_that_never_ends_leaves_nothing(clip: Path, tmp_path: Path, script: str) -> None:
    program = write_program(tmp_path / "ffmpeg", f"echo $$ > {tmp_path}/pid\n{script}\n")
    error = failure(vmaf_engine(Path("/bin/false"), ffmpeg=program), clip, tmp_path, timeout=0.5)
    assert error.failure == "timeout"
    assert not alive_in_group(int((tmp_path / "pid").read_text()))


def test_no_core_file_is_left(clip: Path, tmp_path: Path) -> None:
    program = write_program(tmp_path / "vmaf", f"sleep 0.1; ulimit -S -c > {tmp_path}/core\nkill -ABRT $$\n")
    error = failure(vmaf_engine(program), clip, tmp_path)
    assert error.failure == "engine_error"
    ran = "adm, vif, motion, cambi, vmaf_v0.6.1"
    assert error.message == f"vmaf: killed by SIGABRT (160x240, 6 frames, running {ran})"
    assert (tmp_path / "core").read_text() == "0\n"
