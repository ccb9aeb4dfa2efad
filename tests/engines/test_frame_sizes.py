"""Frame sizes that an extractor refuses or dies on: a row without it, and no value of a pass that broke."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from standin.vmaf import read_calls, write_standin
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
from support.feature_sets import set_of

from vmafarm.engines import ENGINES
from vmafarm.engines.base import Engine
from vmafarm.process.run import run
from vmafarm.query.reference_tables import add_rows, column_rows, refuses
from vmafarm.schema.columns_text import as_markdown
from vmafarm.schema.extractors import ACCEPTED_SIZES, accepts
from vmafarm.schema.features import FEATURE_NAMES
from vmafarm.sql import templates as sql

Clips = Callable[[str], Path]
SIZES = [
    *((18, n) for n in (18, 195, 196, 197, 215, 216)),
    *((n, n) for n in (175, 176, 177, 215, 216, 217, 3046, 3047)),
    *((640, n) for n in (30, 32, 33, 62, 63, 64)),
    *((1920, n) for n in (144, 190, 191, 1080)),
    *((3840, n) for n in (300, 382, 383, 2160, 2252, 2253)),
    *((5538, n) for n in (552, 553, 554, 555)),
    *((640, n) for n in (79, 80, 159, 160, 265, 266, 317, 318)),
    *((6046, n) for n in (6046, 6047)),
]
SIZES += [(height, width) for width, height in SIZES]


def nan_features(row: dict[str, float]) -> set[str]:
    """Features that are NaN although they have a value on identity pairs."""
    for name in FEATURE_NAMES:
        assert math.isnan(row[f"{name}_mean"]) is math.isnan(row[f"{name}_std"])
    return {n for n in FEATURE_NAMES if math.isnan(row[f"{n}_mean"])} - {"ciede2000", "psnr_hvs"}


# The rule, in its three languages


@pytest.mark.parametrize("producer", ACCEPTED_SIZES)
def test_the_size_check_of_the_filter_graph_is_the_rule_of_the_schema(producer: str) -> None:
    engine = replace(ffmpeg_engine("full"), feature_set=set_of([producer]))
    (one,) = engine.passes(Path("/x"), "x")
    (expression,) = re.findall(r",crop=w='([^']*)':h=ih:x=0:y=0:exact=1,split", one.arguments[-10])
    words = {"lt": lambda a, b: a < b, "gt": lambda a, b: a > b, "min": min, "max": max}
    words["mod"] = lambda a, b: a % b
    for width, height in SIZES:
        wide = eval(expression, {"__builtins__": {}}, {**words, "iw": width, "ih": height})
        assert (wide == width) is accepts(producer, width, height), (width, height)
        assert (producer in engine.refusing(width, height)) is not accepts(producer, width, height)


def test_the_view_of_refused_clips_is_the_rule_of_the_schema() -> None:
    known = set_of(ACCEPTED_SIZES)
    with duckdb.connect() as connection:
        names = [f"{width}x{height}" for width, height in SIZES]
        features = {"clip_name": names, "width": [s[0] for s in SIZES], "height": [s[1] for s in SIZES]}
        connection.register("features", pa.table(features))
        add_rows(connection, "columns", column_rows(features=known))
        connection.execute(
            sql.render("query/refused", refuses=refuses()).replace("CREATE VIEW", "CREATE TEMP VIEW")
        )
        found = set(connection.execute("SELECT * FROM refused").fetchall())
    assert found == {
        (f"{width}x{height}", f"f{at}_{statistic}")
        for width, height in SIZES
        for at, producer in enumerate(ACCEPTED_SIZES)
        for statistic in ("mean", "std")
        if not accepts(producer, width, height)
    }


def test_every_engine_has_the_sizes_that_the_checks_know_and_the_page_of_columns_says_from_where() -> None:
    page = as_markdown().replace("\n", " ")
    for kind, engine in ENGINES.items():
        assert engine.accepted_sizes == ACCEPTED_SIZES
        assert f"`{kind}`: {engine.sizes_source}" in page


# Clips of such sizes


@pytest.fixture(scope="module")
def sized(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Two frames of a size, made once for all tests of this file. To be read, never changed."""
    folder = tmp_path_factory.mktemp("sized")

    def make(size: str, pix_fmt: str = "yuv420p", source: str = "testsrc") -> Path:
        path = folder / f"{size}-{pix_fmt}-{source}.mkv"
        if not path.exists():
            media.make_clip(path, size=size, codec="ffv1", frames=2, pix_fmt=pix_fmt, source=source)
        return path

    return make


WIDE = "cambi is left out: {} is too wide and low for it"
TALL = "cambi is left out: {} is too tall and narrow for it"
CASES = {
    "4096x2160": ("yuv420p", "cambi refuses {}"),
    "1920x144": ("yuv420p", WIDE),
    "144x1920": ("yuv420p", TALL),
    "641x31": ("yuv420p10le", WIDE),
    "1281x81": ("yuv420p", WIDE),
    "640x18": ("yuv420p", WIDE),
}


@pytest.mark.parametrize("kind", ["ffmpeg", "vmaf"])
@pytest.mark.parametrize("size", CASES)
def test_clip_that_cambi_cannot_take_has_a_row_without_it(
    sized: Callable[..., Path], tmp_path: Path, standin: Path, size: str, kind: str
) -> None:
    pix_fmt, note = CASES[size]
    clip = sized(size, pix_fmt)
    engine = ffmpeg_engine() if kind == "ffmpeg" else vmaf_engine(standin)
    extracted = score(engine, clip, tmp_path)
    known = {"float_ms_ssim"} if min(map(int, size.split("x"))) < 176 else set()
    assert nan_features(extracted.row) == {"cambi", *known}
    assert extracted.notes == (note.format(size),)
    assert f"{extracted.row['width']}x{extracted.row['height']}" == size
    assert extracted.frames == 2


@pytest.mark.parametrize("size", ["640x30", "30x640", "960x64"])
def test_all_plans_and_engines_agree_on_a_size_on_which_cambi_corrupts_memory(
    tmp_path: Path, standin: Path, size: str
) -> None:
    clip = media.make_clip(tmp_path / "x.mkv", size=size, codec="ffv1", frames=2)
    full = score(ffmpeg_engine("full"), clip, tmp_path, auditor=ffmpeg_engine())
    identity = score(ffmpeg_engine(), clip, tmp_path, auditor=ffmpeg_engine("full"))
    fork = score(vmaf_engine(standin, "full", "cuda"), clip, tmp_path)
    assert nan_features(full.row) == {"cambi", "float_ms_ssim"}
    assert full.audit == identity.audit == "equal"
    assert_equal_rows(identity.row, full.row, 1e-6)
    assert_equal_rows(fork.row, full.row, 1e-9)
    assert fork.notes == full.notes == (*identity.notes, f"float_ms_ssim refuses {size}")


@pytest.mark.parametrize("size", ["240x241", "241x241", "241x240"])
def test_ciede_is_left_out_where_an_odd_height_makes_it_read_beyond_its_buffers(
    tmp_path: Path, standin: Path, size: str
) -> None:
    clip = media.make_clip(tmp_path / "x.mkv", size=size, codec="ffv1", frames=2, source="testsrc")
    full = score(ffmpeg_engine("full"), clip, tmp_path, auditor=ffmpeg_engine())
    identity = score(ffmpeg_engine(), clip, tmp_path, auditor=ffmpeg_engine("full"))
    fork = score(vmaf_engine(standin, "full", "cuda"), clip, tmp_path)
    assert full.audit == identity.audit == "equal"
    for extracted in (full, identity, fork):
        assert math.isnan(extracted.row["ciede2000_mean"])
        assert nan_features(extracted.row) == set()
    assert full.notes == fork.notes == ((f"ciede refuses {size}",) if size.endswith("1") else ())
    asked = any(a.startswith("ciede") for call in read_calls(standin) for a in call["arguments"])
    assert asked is size.endswith("0")


@pytest.mark.parametrize("size", ["1920x144", "641x31", "30x640", "160x120", "16x640"])
def test_libvmaf_is_not_started_on_frames_that_an_extractor_refuses(tmp_path: Path, size: str) -> None:
    clip = media.make_clip(tmp_path / "x.mkv", size=size, codec="ffv1", frames=2, source="testsrc")
    (one,) = ffmpeg_engine().passes(clip, "clip")
    (finished,) = run([one.arguments], folder=tmp_path, deadline=60)
    assert finished.returncode > 0
    assert "Invalid too big or non positive size" in finished.stderr
    assert "VMAF score" not in finished.stderr
    assert not (tmp_path / one.log).exists()


def test_the_fork_is_not_started_with_an_extractor_that_refuses_the_size(
    tmp_path: Path, standin: Path
) -> None:
    clip = media.make_clip(tmp_path / "x.mkv", size="640x30", codec="ffv1", frames=2)
    score(vmaf_engine(standin, "full"), clip, tmp_path)
    (call,) = read_calls(standin)
    assert not {"cambi", "float_ms_ssim"} & set(call["arguments"])


def test_what_counts_is_the_size_of_the_frames_after_rotation(tmp_path: Path) -> None:
    upright = media.make_clip(tmp_path / "upright.mp4", size="64x720", frames=2)
    clip = tmp_path / "rotated.mp4"
    media.run_ffmpeg("-display_rotation", "90", "-i", upright, "-c", "copy", clip)
    extracted = score(ffmpeg_engine(), clip, tmp_path)
    assert (extracted.row["width"], extracted.row["height"]) == (720, 64)
    assert extracted.notes == (WIDE.format("720x64"),)


@pytest.mark.parametrize("name", ["ten_bit.mkv", "odd.mkv", "yuv444.mp4"])
def test_the_size_check_changes_no_frame(clips: Clips, tmp_path: Path, name: str) -> None:
    (one,) = ffmpeg_engine().passes(clips(name), "clip")
    logs = []
    for arguments in (
        one.arguments,
        [re.sub(r"crop=[^:]*:h=ih:x=0:y=0:exact=1,", "", a) for a in one.arguments],
    ):
        (finished,) = run([arguments], folder=tmp_path, deadline=60)
        assert finished.returncode == 0
        logs.append(re.sub(r'"fps": .*', "", (tmp_path / one.log).read_text()))
    assert logs[0] == logs[1]
    assert '"cambi"' in logs[0]


# Crashes


def dying(tmp_path: Path, kind: str, extractor: str, plan: str, times: int = 0) -> Engine:
    """An engine that scores, writes its log and then dies by SIGSEGV, wherever it runs with that extractor.

    Without an extractor it always dies; with `times`, only so many times.
    """
    pattern = f"*name={extractor}*|*' {extractor} '*" if extractor else "*"
    count = f"echo >> {shlex.quote(str(tmp_path / 'deaths'))}"
    spent = f'test {times} -gt 0 && test "$(cat {shlex.quote(str(tmp_path))}/deaths | wc -l)" -ge {times}'
    real = FFMPEG if kind == "ffmpeg" else write_standin(tmp_path / "standin")
    script = (
        f'{shlex.quote(str(real))} "$@" || exit\n'
        f"if {spent}; then exit 0; fi\n"
        f'case " $* " in {pattern}) {count}; kill -SEGV $$;; esac\n'
    )
    (tmp_path / "deaths").touch()
    program = write_program(tmp_path / kind, script)
    return ffmpeg_engine(plan, program) if kind == "ffmpeg" else vmaf_engine(program, plan)


@pytest.fixture
def square(clips: Clips, tmp_path: Path) -> Path:
    """Two frames of 240x240, which every extractor takes."""
    return media.first_frames(clips("240x240.mkv"), tmp_path / "x.mkv", 2)


@pytest.fixture(params=["ffmpeg", "vmaf"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize(("extractor", "plan"), [("cambi", "identity"), ("float_ms_ssim", "full")])
def test_an_extractor_that_crashes_twice_is_left_out_and_reported(
    square: Path, tmp_path: Path, kind: str, extractor: str, plan: str
) -> None:
    extracted = score(dying(tmp_path, kind, extractor, plan), square, tmp_path)
    assert nan_features(extracted.row) == {extractor}
    (note,) = extracted.notes
    assert note.startswith(
        f"{extractor} is left out: with it, {kind}: killed by SIGSEGV (240x240, 2 frames, running "
    )
    assert (tmp_path / "deaths").read_text().count("\n") == (2 if extractor == "cambi" else 3)
    expected = score(ffmpeg_engine(plan), square, tmp_path).row
    left_out = {f"{extractor}_{statistic}": math.nan for statistic in ("mean", "std")}
    assert_equal_rows(extracted.row, {**expected, **left_out}, 1e-6)


def test_crash_that_comes_without_it_too_is_no_extractors(square: Path, tmp_path: Path, kind: str) -> None:
    error = failure(dying(tmp_path, kind, "", "identity"), square, tmp_path)
    if kind == "ffmpeg":  # which crashes when it only decodes as well
        assert error.failure == "decode_error"
        assert error.message == "ffmpeg crashes on it, with nothing to do but decode: killed by SIGSEGV"
    else:
        assert error.failure == "engine_error"
        ran = "adm, vif, motion, cambi, vmaf_v0.6.1"
        assert error.message == f"{kind}: killed by SIGSEGV (240x240, 2 frames, running {ran})"
    assert error.crashed


def test_crash_that_passes_by_itself_costs_no_column(square: Path, tmp_path: Path, kind: str) -> None:
    engine = dying(tmp_path, kind, "cambi", "identity", times=1)
    assert failure(engine, square, tmp_path).failure == "engine_error"
    assert nan_features(score(engine, square, tmp_path).row) == set()


def test_extractor_without_which_there_is_no_row_is_not_left_out(
    square: Path, tmp_path: Path, kind: str
) -> None:
    error = failure(dying(tmp_path, kind, "psnr", "full"), square, tmp_path)
    assert error.failure == "engine_error"


def test_killed_from_outside_is_no_crash(square: Path, tmp_path: Path, kind: str) -> None:
    script = f"echo >> {shlex.quote(str(tmp_path / 'starts'))}; kill -TERM $$\n"
    program = write_program(tmp_path / kind, script)
    engine = ffmpeg_engine(ffmpeg=program) if kind == "ffmpeg" else vmaf_engine(program)
    error = failure(engine, square, tmp_path)
    assert (error.failure, error.crashed) == ("engine_error", False)
    # The embedded engine is looked at more closely: once more, with nothing to do but decode.
    assert (tmp_path / "starts").read_text().count("\n") == (2 if kind == "ffmpeg" else 1)
