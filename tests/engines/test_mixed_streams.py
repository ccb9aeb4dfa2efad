"""Clips whose frames change, and files with pictures beside the video."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import media
from support.engine_helpers import (
    FFMPEG,
    assert_equal_rows,
    breaking,
    failure,
    ffmpeg_engine,
    score,
    small,
    vmaf_engine,
    write_program,
)

from vmafarm.engines.base import Engine
from vmafarm.engines.ffmpeg_arguments import Reading, input_arguments
from vmafarm.engines.ffmpeg_report import read_report
from vmafarm.engines.judge import judge
from vmafarm.schema.features import BY_NAME, MUST_MEASURE

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
