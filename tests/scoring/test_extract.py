"""One clip becomes one row with the 48 columns, or one classified failure; never something in between."""

from __future__ import annotations

import math
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from standin.vmaf import read_calls
from support import media
from support.engine_helpers import (
    assert_equal_rows,
    broken_time_stamps,
    ffmpeg_engine,
    no_time_stamps,
    score,
    vmaf_engine,
    write_program,
)

from vmafarm.engines.base import Engine
from vmafarm.engines.libvmaf_log import read_log
from vmafarm.process.run import run
from vmafarm.schema.features import COLUMNS, FEATURE_NAMES, KNOWN, MUST_MEASURE, identity_value
from vmafarm.scoring.clip import Extracted

Clips = Callable[[str], Path]
SOUND = (
    "plain.mp4", "sound_and_picture.mp4", "ten_bit.mp4", "twelve_bit.mkv", "yuv422_ten_bit.mkv", "yuv444.mp4",
    "gray.mkv", "rgb.mkv", "full_range.mp4", "variable_rate.mp4", "variable_rate.mkv", "rotated.mp4",
    "cover.mp4", "one_frame.mp4", "odd.mkv", "carphone_12.mp4", "18x18.mkv", "100x100.mkv",
)  # fmt: skip


def measured(row: dict[str, float], name: str) -> tuple[float, float]:
    return row[f"{name}_mean"], row[f"{name}_std"]


# Rows


@pytest.mark.parametrize("name", SOUND)
def test_both_engines_give_the_same_row(clips: Clips, standin: Path, tmp_path: Path, name: str) -> None:
    one = score(ffmpeg_engine(), clips(name), tmp_path)
    other = score(vmaf_engine(standin), clips(name), tmp_path)
    assert_equal_rows(one.row, other.row, 1e-9)
    for field in ("frames", "fps", "pixel_format", "bit_depth", "notes"):
        assert getattr(one, field) == getattr(other, field)


@pytest.mark.parametrize("name", ["240x240.mkv", "160x240.mkv", "160x120.mkv", "ten_bit.mkv"])
def test_engines_backends_and_plans_agree_in_all_columns(
    clips: Clips, standin: Path, tmp_path: Path, name: str
) -> None:
    # With three frames there is one between two others, which motion2 looks at.
    clip = media.first_frames(clips(name), tmp_path / "clip.mkv", 3)
    rows = {
        "ffmpeg identity": score(ffmpeg_engine("identity"), clip, tmp_path).row,
        "ffmpeg full": score(ffmpeg_engine("full"), clip, tmp_path).row,
        "vmaf full": score(vmaf_engine(standin, "full"), clip, tmp_path).row,
        "cuda full": score(vmaf_engine(standin, "full", "cuda"), clip, tmp_path).row,
        "cuda identity": score(vmaf_engine(standin, "identity", "cuda"), clip, tmp_path).row,
    }
    assert_equal_rows(rows["vmaf full"], rows["ffmpeg full"], 1e-9)
    assert_equal_rows(rows["cuda full"], rows["vmaf full"], 1e-9)
    assert_equal_rows(rows["cuda identity"], rows["ffmpeg identity"], 1e-9)
    assert_equal_rows(rows["ffmpeg identity"], rows["ffmpeg full"], 1e-6)


def test_row_has_the_columns_of_the_table_in_their_order(
    clips: Clips, tmp_path: Path, engine: Engine
) -> None:
    extracted = score(engine, clips("plain.mp4"), tmp_path)
    assert tuple(extracted.row) == COLUMNS
    assert extracted.row["clip_name"] == "plain.mp4"
    assert extracted.row["mos"] == 3.5
    assert (extracted.row["width"], extracted.row["height"]) == (480, 270)
    assert (extracted.frames, extracted.fps, extracted.pixel_format) == (25, 25.0, "yuv420p")
    assert (extracted.bit_depth, extracted.notes) == (8, ())
    assert extracted.seconds_scoring > 0
    assert (extracted.seconds_decoding > 0) is not engine.runs_in_ffmpeg


@pytest.mark.parametrize(("name", "depth"), [("bikes_12.mp4", 8), ("ten_bit.mkv", 10)])
def test_what_is_constant_on_an_identity_pair_is_so_when_measured(
    clips: Clips, standin: Path, tmp_path: Path, name: str, depth: int
) -> None:
    # Two frames are enough: a constant is one from the first.
    clip = media.first_frames(clips(name), tmp_path / "clip.mkv", 2)
    extracted = score(vmaf_engine(standin, "full"), clip, tmp_path)
    row = extracted.row
    assert extracted.bit_depth == depth
    cap = 60.0 if depth == 8 else 72.0
    for plane in ("y", "cb", "cr"):
        assert measured(row, f"psnr_{plane}") == (cap, 0.0)
    assert measured(row, "float_ssim") == measured(row, "float_ms_ssim") == (1.0, 0.0)
    assert measured(row, "ssimulacra2") == (100.0, 0.0)
    for feature in ("ciede2000", "psnr_hvs"):
        assert all(map(math.isnan, measured(row, feature)))
    for feature in KNOWN:
        expected = identity_value(feature, depth, row["width"], row["height"])
        assert measured(row, feature)[0] == pytest.approx(expected, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("name", ["bikes_12.mp4", "bigbuckbunny_12.mp4", "carphone_12.mp4"])
def test_what_must_be_measured_is_near_to_what_theory_says_and_not_constant(
    clips: Clips, tmp_path: Path, name: str
) -> None:
    row = score(ffmpeg_engine(), clips(name), tmp_path).row
    for feature in MUST_MEASURE:
        if feature.startswith(("adm", "vif")):
            assert row[f"{feature}_mean"] == pytest.approx(1, abs=2e-5)
    assert 97.42 <= row["vmaf_mean"] <= 100
    assert row["motion_mean"] > 0
    assert row["motion_std"] > 0
    assert row["motion2_mean"] <= row["motion_mean"]


def test_motion2_is_the_smaller_of_a_frames_motion_and_the_next_ones(clips: Clips, tmp_path: Path) -> None:
    (one,) = ffmpeg_engine().passes(clips("bikes_12.mp4"), "clip")
    run([one.arguments], folder=tmp_path, deadline=60)
    values = read_log(tmp_path / one.log, FEATURE_NAMES).values
    motion, motion2 = values["motion"], values["motion2"]
    assert motion2[:-1].tolist() == np.minimum(motion[:-1], motion[1:]).tolist()


@pytest.mark.parametrize("make", [broken_time_stamps, no_time_stamps])
def test_broken_time_stamps_cost_no_frame_and_change_no_score(
    tmp_path: Path, engine: Engine, make: Callable[[Path], Path]
) -> None:
    broken = score(engine, make(tmp_path), tmp_path)
    assert broken.frames == 12
    raw = media.as_y4m(tmp_path / broken.row["clip_name"], tmp_path / "frames.y4m")
    assert_equal_rows({**broken.row, "clip_name": raw.name}, score(engine, raw, tmp_path).row, 1e-9)


# Sizes


@pytest.mark.parametrize(
    ("size", "refused"),
    [
        ("18x18", ("cambi", "float_ms_ssim")),
        ("100x100", ("cambi", "float_ms_ssim")),
        ("160x120", ("cambi", "float_ms_ssim")),
        ("160x240", ("float_ms_ssim",)),
        ("200x200", ("cambi",)),
        ("240x240", ()),
    ],
)
@pytest.mark.parametrize("plan", ["identity", "full"])
def test_extractor_that_refuses_a_size_takes_nothing_else_along(
    clips: Clips, tmp_path: Path, plan: str, size: str, refused: tuple[str, ...]
) -> None:
    clip = tmp_path / f"{size}.mkv"
    if size == "200x200":
        media.make_clip(clip, size=size, codec="ffv1", frames=3)
    else:
        clip = clips(clip.name)
    extracted = score(ffmpeg_engine(plan), clip, tmp_path)
    nan = {name for name in FEATURE_NAMES if math.isnan(extracted.row[f"{name}_mean"])}
    assert nan == {*refused, "ciede2000", "psnr_hvs"}
    named = refused if plan == "full" else tuple(e for e in refused if e == "cambi")
    assert extracted.notes == tuple(f"{extractor} refuses {size}" for extractor in named)


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
@pytest.mark.parametrize("size", ["160x120", "160x240"])
def test_fork_knows_the_size_before_and_never_runs_again_for_it(
    clips: Clips, standin: Path, tmp_path: Path, size: str, backend: str
) -> None:
    row = score(vmaf_engine(standin, "full", backend), clips(f"{size}.mkv"), tmp_path).row
    assert math.isnan(row["cambi_mean"]) is (size == "160x120")
    assert len(read_calls(standin)) == (2 if backend == "cuda" else 1)


def test_constants_are_filled_only_where_the_extractor_takes_the_size(clips: Clips, tmp_path: Path) -> None:
    small = score(ffmpeg_engine(), clips("160x240.mkv"), tmp_path).row
    large = score(ffmpeg_engine(), clips("240x240.mkv"), tmp_path).row
    assert all(map(math.isnan, measured(small, "float_ms_ssim")))
    assert measured(large, "float_ms_ssim") == (1.0, 0.0)
    for row in (small, large):
        assert measured(row, "float_ssim") == (1.0, 0.0)
        assert measured(row, "psnr_cb") == (60.0, 0.0)
        assert measured(row, "ssimulacra2") == (100.0, 0.0)
        assert all(map(math.isnan, measured(row, "psnr_hvs")))


# Values that cannot repeat


@pytest.fixture(scope="module")
def concealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H.264 with damage that its decoder conceals, with other frames by one thread than by four."""
    path = tmp_path_factory.mktemp("concealed") / "clip.mp4"
    options = ("-preset", "ultrafast", "-bf", "0", "-threads", "1", "-movflags", "+faststart")
    media.make_clip(path, size="240x240", source="mandelbrot", frames=12, options=options)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    at = start + (len(data) - start) * 3 // 8
    data[at : at + 3] = bytes(3)
    path.write_bytes(data)
    return path


def frames_by_threads(path: Path, threads: int) -> bytes:
    command = [media.FFMPEG, "-v", "quiet", "-nostdin", "-threads", str(threads), "-i", str(path)]
    return subprocess.run([*command, "-f", "framemd5", "-"], stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize("kind", ["ffmpeg", "vmaf"])
def test_threads_of_the_engine_change_no_value_of_a_damaged_clip(
    concealed: Path, standin: Path, tmp_path: Path, kind: str
) -> None:
    assert frames_by_threads(concealed, 1) != frames_by_threads(concealed, 4)
    found = []
    for threads in (1, 4, 1, 4):
        engine: Engine = ffmpeg_engine() if kind == "ffmpeg" else vmaf_engine(standin)
        found.append(score(replace(engine, threads=threads), concealed, tmp_path))
    for other in found[1:]:
        assert_equal_rows(found[0].row, other.row, 1e-6)
    assert [one.repeatable for one in found] == [False] * 4
    assert any("another decode may give different values" in note for note in found[0].notes)


def test_a_sound_clip_repeats(clips: Clips, tmp_path: Path, engine: Engine) -> None:
    assert score(engine, clips("plain.mp4"), tmp_path).repeatable


def another_decode(folder: Path, other: Path) -> Path:
    """An ffmpeg that decodes another clip instead of the one that the full plan should score."""
    script = f"""
case "$*" in *psnr*)
    for word; do
        shift
        case "$word" in file:*.mp4) word={shlex.quote(f"file:{other}")} ;; esac
        set -- "$@" "$word"
    done ;;
esac
exec {shlex.quote(media.FFMPEG)} "$@"
"""
    return write_program(folder / "ffmpeg", script)


def audited(clip: Path, other: Path, folder: Path, plan: str = "identity") -> Extracted:
    program = another_decode(folder, other)
    engine = ffmpeg_engine(plan, ffmpeg=program)
    auditor = ffmpeg_engine("full" if plan == "identity" else "identity", ffmpeg=program)
    return score(engine, clip, folder, auditor=auditor)


@pytest.mark.parametrize("plan", ["identity", "full"])
def test_an_audit_of_a_damaged_clip_ends_no_run(concealed: Path, tmp_path: Path, plan: str) -> None:
    other = tmp_path / "other.mp4"
    media.make_clip(other, size="240x240", source="testsrc2", frames=12)
    found = audited(concealed, other, tmp_path, plan)
    assert found.audit == "failed"
    assert "audit: another decode of this damaged clip gave other values" in found.notes


def test_an_audit_of_a_clip_that_repeats_shows_a_difference(tmp_path: Path) -> None:
    for name, source in (("one.mp4", "mandelbrot"), ("other.mp4", "testsrc2")):
        media.make_clip(tmp_path / name, size="240x240", source=source, frames=12)
    found = audited(tmp_path / "one.mp4", tmp_path / "other.mp4", tmp_path)
    assert found.audit == "differs"


# Names


@pytest.mark.parametrize(
    "name",
    [
        "-y.mkv",
        "--help",
        "a:b.mkv",
        "http:x.mkv",
        "concat:a|b.mkv",
        "100%d.mkv",
        'it\'s "quoted".mkv',
        "new\nline.mkv",
        "tab\tand\x1b[31mcolour.mkv",
        " blanks .mkv",
        "back\\slash.mkv",
        "[0:v]split;,=.mkv",
        "$(touch x)`id`;&|.mkv",
        "'); DROP TABLE features; --.mkv",
        "{{ 7*7 }}.mkv",
        "😀-日本語-é.mkv",
        "no_suffix",
        "*?.mkv",
    ],
)
def test_name_is_data_to_both_engines(clips: Clips, tmp_path: Path, engine: Engine, name: str) -> None:
    clip = tmp_path / name
    clip.symlink_to(clips("18x18.mkv"))
    extracted = score(engine, clip, tmp_path)
    assert extracted.row["clip_name"] == name
    assert extracted.frames == 6


# Aggregation


def test_mean_and_std_of_a_clip_are_those_of_its_log(clips: Clips, tmp_path: Path) -> None:
    (one,) = ffmpeg_engine("full").passes(clips("160x240.mkv"), "clip", ["float_ms_ssim"])
    run([one.arguments], folder=tmp_path, deadline=60)
    values = read_log(tmp_path / one.log, FEATURE_NAMES).values
    row = score(ffmpeg_engine("full"), clips("160x240.mkv"), tmp_path).row
    assert len(values) == 20
    for name, frames in values.items():
        assert frames.shape == (6,)
        finite = frames[np.isfinite(frames)]
        expected = (float(np.mean(finite)), float(np.std(finite))) if finite.size else (math.nan, math.nan)
        assert measured(row, name) == pytest.approx(expected, abs=1e-12, nan_ok=True)
