"""What ffmpeg does with unusual clips: which frames are scored, and who is to blame where there are none."""

from __future__ import annotations

import shlex
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from standin.vmaf import read_calls
from support import media
from support.engine_helpers import (
    FFMPEG,
    breaking,
    failure,
    ffmpeg_engine,
    score,
    small,
    vmaf_engine,
    write_program,
)

from vmafarm.engines.base import Engine
from vmafarm.engines.failure import ClipFailedError
from vmafarm.engines.ffmpeg_report import read_report
from vmafarm.process.finished import Finished
from vmafarm.scoring.verdict import judge_clip

Make = Callable[[Path], Path]


def patched(path: Path, box: bytes, at: int, value: int, **more: int) -> Path:
    """A small MP4 with another number at that place of the content of a box."""
    small(path, options=("-bf", "0"), **more)
    data = bytearray(path.read_bytes())
    struct.pack_into(">I", data, data.index(box) + 4 + at, value)
    path.write_bytes(data)
    return path


def without_key_frame(codec: str, suffix: str, whole: str = ".mkv") -> Make:
    def make(folder: Path) -> Path:
        options = ("-g", "100", *(("-x265-params", "log-level=none") if codec == "libx265" else ()))
        source = small(folder / f"whole{whole}", codec=codec, options=options)
        path = folder / f"clip{suffix}"
        media.run_ffmpeg("-i", source, "-c", "copy", "-bsf:v", "noise=drop=key", path)
        return path

    return make


def init_segment(folder: Path) -> Path:
    path = small(folder / "clip.mp4", options=("-movflags", "frag_keyframe+empty_moov"))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moof") - 4])
    return path


def zeroed_mdat(folder: Path) -> Path:
    path = small(folder / "clip.mp4")
    data = path.read_bytes()
    at = data.index(b"mdat")
    size = struct.unpack_from(">I", data, at - 4)[0]
    path.write_bytes(data[: at + 4] + bytes(size - 8) + data[at - 4 + size :])
    return path


NO_FRAME: dict[str, tuple[Make, str, str]] = {
    "edit of length 0": (
        lambda folder: patched(folder / "clip.mp4", b"elst", 8, 0),
        "no_frames",
        "there is no key frame, or an edit list leaves them all out",
    ),
    "edit of length 0, one frame": (
        lambda folder: patched(folder / "clip.mp4", b"elst", 8, 0, frames=1),
        "no_frames",
        "no frame came out of 1 packet: ",
    ),
    "edit beyond the end": (
        lambda folder: patched(folder / "clip.mp4", b"elst", 12, 10**6),
        "no_frames",
        "no frame came out of ",
    ),
    "index without samples": (
        lambda folder: patched(folder / "clip.mp4", b"stsz", 8, 0),
        "decode_error",
        "no frame could be decoded: stream 0, missing mandatory atoms",
    ),
    "init segment": (init_segment, "no_frames", "the video stream has no frames"),
    "zeroed mdat": (zeroed_mdat, "decode_error", "no frame could be decoded: Invalid NAL unit size"),
    "no key frame, h264 in mkv": (without_key_frame("libx264", ".mkv"), "no_frames", "no key frame"),
    "no key frame, h264 in mp4": (without_key_frame("libx264", ".mp4"), "no_frames", "no key frame"),
    "no key frame, hevc in mp4": (
        without_key_frame("libx265", ".mp4", ".mp4"),
        "decode_error",
        "no frame could be decoded: Could not find ref with POC 0",
    ),
    "no key frame, hevc in ts": (
        without_key_frame("libx265", ".ts", ".mp4"),
        "decode_error",
        "no frame could be decoded: PPS id out of range: 0",
    ),
    "no key frame, vp9 in webm": (
        without_key_frame("libvpx-vp9", ".webm"),
        "decode_error",
        "no frame could be decoded: Not all references are available",
    ),
}


@pytest.mark.parametrize("kind", NO_FRAME)
def test_clip_of_which_no_frame_decodes_is_to_blame_and_no_engine(
    tmp_path: Path, engine: Engine, kind: str
) -> None:
    make, expected, words = NO_FRAME[kind]
    error = failure(engine, make(tmp_path), tmp_path)
    assert error.failure == expected
    assert words in error.message


@pytest.mark.parametrize("movflags", ["frag_keyframe+empty_moov", "faststart"])
def test_edit_list_that_ffmpeg_writes_costs_no_frame(tmp_path: Path, engine: Engine, movflags: str) -> None:
    # Fragmented files have an edit of length 0, which there means all that follows.
    clip = small(tmp_path / "clip.mp4", options=("-movflags", movflags))
    assert score(engine, clip, tmp_path).frames == 6


# No decoder, no format that libvmaf could be given


def renamed(folder: Path, name: str, old: bytes, new: bytes) -> Path:
    path = small(folder / name, codec="mpeg4" if name.endswith("avi") else "libx264")
    path.write_bytes(path.read_bytes().replace(old, new))
    return path


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("x.avi", b"FMP4", b"QQQQ", "unknown (fourcc QQQQ)"),
        ("x.avi", b"FMP4", b"\1\2\3\4", "unknown (fourcc [1][2][3][4])"),
        ("x.mp4", b"avc1", b"encv", "unknown (fourcc encv)"),
        ("x.mp4", b"avc1", b"evc1", "evc (fourcc evc1)"),
        ("x.mkv", b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/QQQ", "unknown"),
    ],
)
def test_codec_without_a_decoder_is_named(
    tmp_path: Path, engine: Engine, name: str, old: bytes, new: bytes, told: str
) -> None:
    error = failure(engine, renamed(tmp_path, name, old, new), tmp_path)
    assert (error.failure, error.message) == ("decode_error", f"no decoder for codec {told}")


def raw_frames(path: Path, pixel_format: str) -> Path:
    raw = path.with_suffix(".bin")
    raw.write_bytes(bytes(range(256)) * (160 * 120 * 16 * 2 // 256))
    media.run_ffmpeg(
        *("-f", "rawvideo", "-pix_fmt", pixel_format, "-s", "160x120", "-i", raw, "-frames:v", "2"),
        *("-c:v", "copy", path),
    )
    return path


@pytest.mark.parametrize(
    "pixel_format", ["pal8", "monob", "yuva420p", "rgba64le", "bayer_bggr8", "yuv410p", "gbrpf32le", "ya8"]
)
def test_unusual_pixel_format_is_scored(tmp_path: Path, engine: Engine, pixel_format: str) -> None:
    extracted = score(engine, raw_frames(tmp_path / "clip.nut", pixel_format), tmp_path)
    assert (extracted.frames, extracted.pixel_format) == (2, pixel_format)


def test_pixel_format_that_cannot_be_converted_is_the_clips_fault(tmp_path: Path, engine: Engine) -> None:
    error = failure(engine, raw_frames(tmp_path / "clip.nut", "rgb4"), tmp_path)
    assert error.failure == "decode_error"
    assert "it cannot be decoded: ffmpeg: exit status " in error.message
    assert "Impossible to convert" in error.message


SAYS_WHAT_IT_OPENED = "printf '[info] Input #0, mov\n[info]   Stream #0:0: Video: h264, yuv420p\n'"
NO_MEMORY = "echo '[error] Cannot allocate memory'; exit 244"


@pytest.mark.parametrize(
    ("scoring", "failed"),
    [
        ("kill -SEGV $$", "engine_error"),
        (f"{SAYS_WHAT_IT_OPENED}; kill -ABRT $$", "engine_error"),
        (f"{SAYS_WHAT_IT_OPENED}; echo '[error] partial file'; kill -SEGV $$", "engine_error"),
        ("exit 127", "engine_error"),
        (f"{SAYS_WHAT_IT_OPENED}; exit 1", "engine_error"),
        (f"{SAYS_WHAT_IT_OPENED}; exit 0", "bad_log"),
        (f"{SAYS_WHAT_IT_OPENED}; {NO_MEMORY}", "out_of_memory"),
    ],
)
def test_failure_with_a_clip_that_decodes_is_not_the_clips(tmp_path: Path, scoring: str, failed: str) -> None:
    error = failure(breaking(tmp_path, scoring), small(tmp_path / "clip.mp4"), tmp_path)
    assert error.failure == failed


@pytest.mark.parametrize(
    ("decoding", "message"),
    [
        ("kill -SEGV $$", "ffmpeg crashes on it, with nothing to do but decode: killed by SIGSEGV"),
        (
            f"{SAYS_WHAT_IT_OPENED}; echo '[error] what is this'; exit 9",
            "it cannot be decoded: ffmpeg: exit status 9: what is this",
        ),
    ],
)
def test_failure_with_a_clip_that_does_not_even_decode_is_the_clips(
    tmp_path: Path, decoding: str, message: str
) -> None:
    clip = small(tmp_path / "clip.mp4")
    error = failure(breaking(tmp_path, "kill -SEGV $$", decoding), clip, tmp_path)
    assert (error.failure, error.message) == ("decode_error", message)


def test_decoder_that_fails_without_a_word_on_the_clip_charges_no_clip(
    tmp_path: Path, engine: Engine
) -> None:
    engine = replace(engine, ffmpeg=write_program(tmp_path / "ffmpeg", "exit 245\n"))
    error = failure(engine, small(tmp_path / "clip.mp4"), tmp_path)
    assert (error.failure, error.message) == ("engine_error", "ffmpeg: exit status 245")


@pytest.mark.parametrize("who", ["vist#0:0/h264", "in#0/mov,mp4,m4a,3gp,3g2,mj2"])
def test_decoder_that_can_start_no_thread_charges_no_clip(tmp_path: Path, engine: Engine, who: str) -> None:
    said = f"[{who} @ 0x55d0] [error] pthread_create() failed: Resource temporarily unavailable"
    program = write_program(
        tmp_path / "ffmpeg", f"exec >&2\n{SAYS_WHAT_IT_OPENED}\necho '{said}'\nexit 245\n"
    )
    error = failure(replace(engine, ffmpeg=program), small(tmp_path / "clip.mp4"), tmp_path)
    assert error.failure == "engine_error"
    assert "could not start a thread" in error.message


def test_memory_that_only_scoring_lacks_is_never_the_clips(tmp_path: Path) -> None:
    """As a limit on address space does it: libvmaf has its share, and the decoder gets no more."""
    script = (
        f'case "$*" in *libvmaf*) {shlex.quote(str(FFMPEG))} "$@" 2>&1 >/dev/null |'
        " sed 's/frames decoded; 0 decode errors/frames decoded; 1 decode errors/' >&2\n"
        "echo '[h264 @ 0x55d0] [error] get_buffer() failed: Cannot allocate memory' >&2;;\n"
        f'*) exec {shlex.quote(str(FFMPEG))} "$@";; esac\n'
    )
    engine = ffmpeg_engine(ffmpeg=write_program(tmp_path / "ffmpeg", script))
    error = failure(engine, small(tmp_path / "clip.mp4"), tmp_path)
    assert (error.failure, error.otherwise) == ("out_of_memory", None)


def test_decoder_that_fails_for_its_limit_alone_decodes_without_it(tmp_path: Path, standin: Path) -> None:
    program = write_program(
        tmp_path / "ffmpeg",
        f'[ "$(ulimit -v)" = unlimited ] || exit 245\nexec {shlex.quote(str(FFMPEG))} "$@"\n',
    )
    engine = vmaf_engine(standin, ffmpeg=program)
    assert score(engine, small(tmp_path / "clip.mp4"), tmp_path).frames == 6


# Damaged sizes that ask for more memory than there is


def fragment_size(folder: Path, size: int) -> Path:
    """A fragmented MP4 with another size of its third sample (trun box; ISO/IEC 14496-12, 8.8.8)."""
    path = small(folder / "clip.mp4", options=("-bf", "0", "-movflags", "frag_keyframe+empty_moov"))
    data = bytearray(path.read_bytes())
    at = data.index(b"trun")
    flags = struct.unpack_from(">I", data, at + 4)[0]
    per_sample = 4 * sum(bool(flags & bit) for bit in (0x100, 0x200, 0x400, 0x800))
    first = at + 12 + 4 * bool(flags & 1) + 4 * bool(flags & 4)
    struct.pack_into(">I", data, first + 2 * per_sample + 4 * bool(flags & 0x100), size)
    path.write_bytes(data)
    return path


MEMORY: dict[str, tuple[Make, str]] = {
    "sample of a fragment": (lambda folder: fragment_size(folder, 0x7FFFFFFF), "incomplete_decode"),
    "sample of the index": (
        lambda folder: patched(folder / "clip.mp4", b"stsz", 12 + 2 * 4, 0x20000000),
        "incomplete_decode",
    ),
    "number of durations": (
        lambda folder: patched(folder / "clip.mp4", b"stts", 4, 0x0FFFFFFF), "decode_error",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", MEMORY)
def test_damaged_size_is_the_clips_fault_where_there_is_memory(
    tmp_path: Path, engine: Engine, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, expected = MEMORY[kind]
    clip = make(tmp_path)
    monkeypatch.setattr("vmafarm.scoring.verdict.spare_bytes", lambda: engine.limits.decoder_memory)
    error = failure(engine, clip, tmp_path)
    assert error.failure == expected
    assert "Cannot allocate memory" in error.message + "".join(error.stderr)


@pytest.mark.parametrize("kind", MEMORY)
def test_damaged_size_is_a_lack_of_memory_where_there_may_be_one(
    tmp_path: Path, engine: Engine, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, expected = MEMORY[kind]
    clip = make(tmp_path)
    monkeypatch.setattr("vmafarm.scoring.verdict.spare_bytes", lambda: engine.limits.decoder_memory - 1)
    error = failure(engine, clip, tmp_path)
    assert error.failure == "out_of_memory"
    assert error.otherwise is not None
    assert error.otherwise[0] == expected
    # Where programs may not have that much, fewer of them prove nothing.
    monkeypatch.setattr("vmafarm.scoring.verdict.grantable_bytes", lambda: engine.limits.decoder_memory - 1)
    assert failure(engine, clip, tmp_path).otherwise is None


def test_complaint_of_memory_while_an_engine_scores_is_never_the_clips_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It needs far more memory than a decoder; only the decoder alone shows what the clip asks for.
    monkeypatch.setattr("vmafarm.scoring.verdict.spare_bytes", lambda: 1 << 40)
    engine = ffmpeg_engine()
    said = (
        "[info] Input #0, mov\n[info]   Stream #0:0: Video: h264\n"
        "[h264 @ 0x1] [error] Cannot allocate memory\n"
    )
    with pytest.raises(ClipFailedError) as caught:
        judge_clip(
            replace(read_report(said), decoded=0),
            Finished(244, said, False, 1.0),
            "",
            engine.limits,
        )
    assert caught.value.failure == "out_of_memory"


def test_fork_never_sees_a_clip_that_does_not_decode(tmp_path: Path, standin: Path) -> None:
    for kind, (make, _, _) in NO_FRAME.items():
        folder = tmp_path / kind
        folder.mkdir()
        failure(vmaf_engine(standin), make(folder), tmp_path)
    assert read_calls(standin) == []


def test_samples_beyond_the_bit_depth_are_the_fault_of_the_clip(tmp_path: Path) -> None:
    error = failure(ffmpeg_engine(), media.beyond_depth(tmp_path / "clip.y4m"), tmp_path)
    assert error.failure == "decode_error"
    assert "samples beyond its bit depth" in error.message
