"""What ffmpeg does with unusual clips: which frames are scored, and who is to blame where there are none."""

from __future__ import annotations

import json
import shlex
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from standin.vmaf import read_calls
from support import media
from support.engine_helpers import (
    FFMPEG,
    assert_equal_rows,
    failure,
    ffmpeg_engine,
    score,
    vmaf_engine,
    write_program,
)

from vmafarm.engines.base import Engine
from vmafarm.engines.failure import ClipFailedError
from vmafarm.engines.ffmpeg import FfmpegEngine
from vmafarm.engines.ffmpeg_arguments import Reading, input_arguments
from vmafarm.engines.ffmpeg_report import read_report
from vmafarm.engines.judge import judge
from vmafarm.process.finished import Finished
from vmafarm.schema.features import BY_NAME, MUST_MEASURE
from vmafarm.scoring.verdict import judge_clip

Make = Callable[[Path], Path]


@pytest.fixture(params=["ffmpeg", "vmaf"])
def engine(request: pytest.FixtureRequest, standin: Path) -> Engine:
    """Either engine with the identity plan."""
    return ffmpeg_engine() if request.param == "ffmpeg" else vmaf_engine(standin)


# No frame comes out


def small(path: Path, *, frames: int = 6, codec: str = "libx264", options: Sequence[str] = ()) -> Path:
    return media.make_clip(path, size="160x120", frames=frames, codec=codec, options=options)


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


# The engine's fault, or the clip's


def breaking(folder: Path, scoring: str = ":", decoding: str = ":") -> FfmpegEngine:
    """The embedded engine, but something else happens before it scores, or before it only decodes."""
    program = write_program(
        folder / "ffmpeg",
        f'case "$*" in *libvmaf*) {scoring};; *) {decoding};; esac >&2\n'
        f'exec {shlex.quote(str(FFMPEG))} "$@"\n',
    )
    return ffmpeg_engine(ffmpeg=program)


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


# Colour, range and rotation change within the clip

SIZE = "240x160"
BT709 = ("-vf", "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709")
BT601 = ("-vf", "setparams=colorspace=smpte170m:color_primaries=smpte170m:color_trc=smpte170m")
FULL = ("-color_range", "pc")
TURNED = ("-bsf:v", "h264_metadata=display_orientation=insert:rotate=90")
CHANGES: dict[str, tuple[str, list[Sequence[str]]]] = {
    "matrix": ("yuv420p", [BT709, BT601]),
    "matrix, to and fro": ("yuv420p", [BT709, BT601, BT709]),
    "matrix of 4:4:4": ("yuv444p", [BT709, BT601]),
    "matrix of 10 bit": ("yuv420p10le", [BT709, BT601]),
    "range": ("yuv420p", [(), FULL]),
    "range, the other way": ("yuv420p", [FULL, BT709]),
    "range of 4:2:2": ("yuv422p", [(), FULL]),
    "range of 4:4:4, the other way": ("yuv444p", [FULL, BT709]),
    "aspect": ("yuv420p", [(), ("-vf", "setsar=4/3")]),
    "rotation": ("yuv420p", [(), TURNED]),
    "rotation, from the first frame": ("yuv420p", [TURNED, ()]),
}


def segment(path: Path, pixel_format: str, options: Sequence[str], source: str = "testsrc2") -> Path:
    if pixel_format == "yuv420p" and options == FULL:
        pixel_format = "yuvj420p"
    media.make_clip(path, size=SIZE, frames=3, source=source, pix_fmt=pixel_format,
                    options=("-bf", "0", *options))  # fmt: skip
    return path


def joined(folder: Path, segments: Sequence[Path]) -> Path:
    stream = folder / "all.h264"
    stream.write_bytes(b"".join(path.read_bytes() for path in segments))
    media.run_ffmpeg("-r", "25", "-i", stream, "-c", "copy", folder / "clip.mp4")
    return folder / "clip.mp4"


def measured(y4m: Path) -> dict[str, float]:
    """What must be measured, of a .y4m file scored against itself by ffmpeg alone."""
    log = y4m.with_suffix(".json")
    media.run_ffmpeg(
        *("-i", y4m, "-i", y4m, "-lavfi"),
        *(f"[0:v][1:v]libvmaf=feature=name=cambi:log_fmt=json:log_path={log}", "-f", "null", "-"),
    )
    frames = [frame["metrics"] for frame in json.loads(log.read_bytes())["frames"]]
    found = {}
    for name in MUST_MEASURE:
        key = next(key for key in BY_NAME[name].keys if key in frames[0])
        values = np.array([frame[key] for frame in frames])
        found |= {f"{name}_mean": values.mean(), f"{name}_std": values.std()}
    return found


@pytest.mark.parametrize("kind", CHANGES)
def test_every_frame_is_scored_as_it_is_stored_where_colour_or_rotation_changes(
    tmp_path: Path, engine: Engine, kind: str
) -> None:
    pixel_format, options = CHANGES[kind]
    segments = [segment(tmp_path / f"{n}.h264", pixel_format, o) for n, o in enumerate(options)]
    extracted = score(engine, joined(tmp_path, segments), tmp_path)
    turned = options[0] == TURNED
    assert extracted.frames == 3 * len(segments)
    assert (extracted.row["width"], extracted.row["height"]) == ((160, 240) if turned else (240, 160))
    # The truth: each segment decoded for itself, turned if the clip is by its first frame, put together.
    stored = "yuv420p10le" if pixel_format.endswith("10le") else "yuv420p"
    pieces = []
    for number, path in enumerate(segments):
        piece = tmp_path / f"{number}.y4m"
        media.run_ffmpeg(
            *("-noautorotate", "-i", path, "-fps_mode", "passthrough"),
            *("-vf", ("transpose=cclock," if turned else "") + f"setsar=1,format={stored}"),
            *("-strict", "-1", piece),
        )
        header, _, frames = piece.read_bytes().partition(b"\n")
        pieces += [frames] if pieces else [header + b"\n", frames]
    truth = tmp_path / "truth.y4m"
    truth.write_bytes(b"".join(pieces))
    expected = measured(truth)
    assert {name: extracted.row[name] for name in expected} == pytest.approx(expected, rel=0, abs=1e-6)
    told = "colour or rotation changes within the clip: every frame is scored as it is stored"
    assert extracted.notes == ((told,) if kind != "aspect" else ())


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (("240x160", "yuv420p"), ("200x120", "yuv420p")),
        (("200x120", "yuv420p"), ("240x160", "yuv420p")),
        (("240x160", "yuv420p"), ("240x160", "yuv420p10le")),
        (("240x160", "yuv420p10le"), ("240x160", "yuv420p")),
        (("240x160", "yuv420p"), ("240x160", "yuv444p")),
    ],
)
@pytest.mark.parametrize("colour_first", [False, True])
def test_change_of_size_or_pixel_format_is_refused_even_behind_a_change_of_colour(
    tmp_path: Path,
    engine: Engine,
    first: tuple[str, str],
    then: tuple[str, str],
    *,
    colour_first: bool,
) -> None:
    wanted: list[tuple[tuple[str, str], Sequence[str]]]
    wanted = [(first, BT709), (first, BT601), (then, ())] if colour_first else [(first, ()), (then, ())]
    segments = [
        media.make_clip(
            tmp_path / f"{number}.h264", size=size, frames=2, pix_fmt=pixel_format,
            options=("-bf", "0", *options),
        )
        for number, ((size, pixel_format), options) in enumerate(wanted)
    ]  # fmt: skip
    clip = joined(tmp_path, segments)
    engine, calls = recorded(tmp_path, engine)
    error = failure(engine, clip, tmp_path)
    assert error.failure == "decode_error"
    assert error.message == "the frame size or the pixel format changes within the clip"
    assert "-reinit_filter" not in calls.read_text()  # filters would read beyond the smaller frames
    # It is seen in frames that came into a graph that was made for others, too.
    kept = Reading(keep_range="unknown")
    command = [*input_arguments(FFMPEG, clip, 1 << 20, kept), "-map", "0:V:0", "-f", "null", "-"]
    said = subprocess.run(command, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL).stderr
    assert judge(read_report(said), 0) == (error.failure, error.message)


def recorded(folder: Path, engine: Engine) -> tuple[Engine, Path]:
    """The engine with an ffmpeg that writes each call of it to a file, and that file."""
    calls = folder / "calls"
    before = shlex.quote(str(engine.ffmpeg))
    program = write_program(folder / "recorder", f'echo "$*" >> {calls}\nexec {before} "$@"\n')
    return replace(engine, ffmpeg=program), calls


def test_graph_is_not_kept_where_some_of_what_was_said_of_sizes_is_lost(tmp_path: Path) -> None:
    segments = [segment(tmp_path / f"{n}.h264", "yuv420p", o) for n, o in enumerate((BT709, BT601))]
    program = write_program(
        tmp_path / "ffmpeg",
        f'{shlex.quote(str(FFMPEG))} "$@" 2> {tmp_path}/said; r=$?\ncat {tmp_path}/said >&2\n'
        f"head -c 400000 /dev/zero | tr '\\0' 'x' >&2; cat {tmp_path}/said >&2; exit $r\n",
    )
    engine = ffmpeg_engine(ffmpeg=program)
    engine, calls = recorded(tmp_path, engine)
    error = failure(engine, joined(tmp_path, segments), tmp_path)
    assert "-reinit_filter" not in calls.read_text()
    assert (error.failure, error.message) == ("decode_error", "its colour or rotation changes too often")


# Pictures beside the video


def video(folder: Path) -> Path:
    return small(folder / "video.mp4")


def picture(folder: Path, suffix: str = ".png", size: str = "64x64", codec: str = "") -> Path:
    path = folder / f"picture{suffix}"
    more = ("-c:v", codec) if codec else ()
    media.run_ffmpeg("-f", "lavfi", "-i", f"testsrc=s={size}", "-frames:v", "1", *more, path)
    return path


def together(path: Path, *parts: Path) -> Path:
    inputs = [word for part in parts for word in ("-i", part)]
    maps = [word for number in range(len(parts)) for word in ("-map", str(number))]
    media.run_ffmpeg(*inputs, *maps, "-c", "copy", "-disposition:v", "0", path)
    return path


@pytest.mark.parametrize(
    ("suffix", "kind", "size", "codec"),
    [
        (".mp4", ".png", "64x64", ""),
        (".mkv", ".jpg", "64x64", ""),
        (".avi", ".mp4", "64x64", "libx264"),
        (".mov", ".png", "16x16", ""),  # libvmaf takes no such frame
        (".mp4", ".png", "6000x6000", ""),  # more than extract.max_pixels
    ],
)
def test_video_behind_an_unflagged_picture_is_scored(
    tmp_path: Path, engine: Engine, suffix: str, kind: str, size: str, codec: str
) -> None:
    source = video(tmp_path)
    clip = together(tmp_path / f"clip{suffix}", picture(tmp_path, kind, size, codec), source)
    extracted = score(engine, clip, tmp_path)
    row = {**extracted.row, "clip_name": source.name}
    assert_equal_rows(row, score(engine, source, tmp_path).row, 1e-9)
    assert "stream 1 is scored: the first video stream is a picture" in extracted.notes


def test_video_behind_two_pictures_is_scored(tmp_path: Path, engine: Engine) -> None:
    parts = picture(tmp_path), picture(tmp_path, ".jpg"), video(tmp_path)
    assert score(engine, together(tmp_path / "clip.mov", *parts), tmp_path).frames == 6


def test_first_of_two_videos_is_scored(tmp_path: Path, engine: Engine) -> None:
    two = media.make_clip(tmp_path / "two.mp4", size="176x144", frames=2)
    for parts, frames in (((two, video(tmp_path)), 2), ((video(tmp_path), two), 6)):
        assert score(engine, together(tmp_path / "clip.mkv", *parts), tmp_path).frames == frames


def test_first_of_two_videos_is_the_clip_even_if_no_frame_of_it_is_scored(
    tmp_path: Path, engine: Engine
) -> None:
    clip = together(tmp_path / "two.mkv", small(tmp_path / "one.mkv", codec="mpeg4"), video(tmp_path))
    assert failure(breaking(tmp_path, "kill -SEGV $$"), clip, tmp_path).failure == "engine_error"
    clip.write_bytes(clip.read_bytes().replace(b"V_MPEG4/ISO/ASP", b"V_MPEG4/ISO/QQQ"))
    assert failure(engine, clip, tmp_path).message == "no decoder for codec unknown"


def test_first_of_two_pictures_is_scored(tmp_path: Path, engine: Engine) -> None:
    both = picture(tmp_path), picture(tmp_path, ".jpg", "128x128")
    extracted = score(engine, together(tmp_path / "clip.mov", *both), tmp_path)
    assert (extracted.frames, extracted.row["width"], extracted.notes) == (1, 64, ("cambi refuses 64x64",))


def test_picture_beside_a_video_costs_no_process_where_the_video_comes_first(
    tmp_path: Path, standin: Path
) -> None:
    # Of a size that no extractor refuses, which costs a process as well.
    large = media.make_clip(tmp_path / "large.mp4", size="240x136", frames=6)
    clip = together(tmp_path / "clip.mp4", large, picture(tmp_path))
    for engine in (ffmpeg_engine(), vmaf_engine(standin)):
        engine, calls = recorded(tmp_path, engine)
        assert score(engine, clip, tmp_path).frames == 6
        assert len(calls.read_text().splitlines()) == 1
        calls.unlink()


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
