"""Filters of ffmpeg measure the frames beside libvmaf; what they wrote is read strictly."""

from __future__ import annotations

import copy
import math
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from standin.vmaf import write_standin
from support import media
from support.engine_helpers import FFMPEG, assert_equal_rows, ffmpeg_engine, score, vmaf_engine, write_program
from support.errors_document import documented
from support.feature_sets import parse_document

from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.engines.ffmpeg import FfmpegEngine
from vmafarm.engines.filters import read_measured
from vmafarm.engines.libvmaf_log import LogError
from vmafarm.process.run import run
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.filters import FILTERS
from vmafarm.schema.read_set import built_in

Clips = Callable[[str], Path]
CONTENT = built_in("content")
PLAIN: dict[str, Any] = {
    "version": 1, "pools": ["mean", "std"], "gpu_tolerance": 1e-3, "extractors": {}, "filters": {"siti": {}},
    "features": {
        "si": {"filter": "siti", "keys": ["lavfi.siti.si"], "what": "x", "on_identity": "measured"},
    },
}  # fmt: skip
"""Nothing of libvmaf."""


def changed(**parts: Any) -> FeatureSet:
    """The set without libvmaf, with other parts."""
    return parse_document("mine", copy.deepcopy(PLAIN) | parts)


def plainly(clip: Path, folder: Path, filters: str) -> list[dict[str, str]]:
    """The metadata of each frame by a command line as users write it."""
    graph = f"format=yuv420p|yuv420p10le,format=yuv420p,{filters},metadata=print:file=plain.txt"
    run(
        [[str(FFMPEG), "-nostdin", "-y", "-i", str(clip), "-vf", graph, "-f", "null", "-"]],
        folder=folder,
        deadline=60,
    )
    frames = re.split(r"^frame:.*\n", (folder / "plain.txt").read_text(), flags=re.MULTILINE)[1:]
    return [dict(line.split("=", 1) for line in frame.splitlines()) for frame in frames]  # type: ignore[misc]


@pytest.mark.parametrize("name", ["bikes_12.mp4", "ten_bit.mkv", "18x18.mkv"])
def test_the_content_of_a_clip_is_what_a_plain_run_of_the_filters_gives(
    clips: Clips, tmp_path: Path, name: str
) -> None:
    engine = replace(ffmpeg_engine("full"), feature_set=CONTENT).probed(tmp_path)
    row = score(engine, clips(name), tmp_path).row
    assert tuple(row) == CONTENT.columns
    frames = plainly(clips(name), tmp_path, "siti,blurdetect,blockdetect,signalstats")
    for feature in CONTENT.features:
        if feature.filter is not None:
            values = np.array([float(frame[feature.keys[0]]) for frame in frames])
            values = values[np.isfinite(values)]
            assert row[f"{feature.name}_mean"] == pytest.approx(values.mean(), abs=1e-9)
            assert row[f"{feature.name}_std"] == pytest.approx(values.std(), abs=1e-9)
            assert row[f"{feature.name}_p95"] == pytest.approx(np.percentile(values, 95), abs=1e-9)


def test_libvmaf_measures_the_same_with_filters_beside_it(clips: Clips, tmp_path: Path) -> None:
    for name in ("bikes_12.mp4", "ten_bit.mkv"):
        alone = replace(ffmpeg_engine("full"), feature_set=built_in("informative"))
        row = score(alone, clips(name), tmp_path).row
        beside = score(replace(alone, feature_set=CONTENT), clips(name), tmp_path)
        assert {name: beside.row[name] for name in row} == row
        assert beside.bit_depth == (10 if name == "ten_bit.mkv" else 8)


def test_the_first_frame_has_no_change_as_the_set_says(clips: Clips, tmp_path: Path) -> None:
    first = media.first_frames(clips("bikes_12.mp4"), tmp_path / "x.mkv", 1)
    row = score(replace(ffmpeg_engine("full"), feature_set=CONTENT), first, tmp_path).row
    assert (row["ti_mean"], row["luma_change_mean"]) == (0, 0)
    assert row["si_mean"] > 0
    for name in ("ti", "luma_change"):
        assert "0 on the first frame" in CONTENT.by_name[name].what


def test_the_engine_vmaf_has_the_same_from_a_pass_of_ffmpeg(clips: Clips, tmp_path: Path) -> None:
    program = write_standin(tmp_path / "standin")
    engine = replace(vmaf_engine(program, "full"), feature_set=CONTENT).probed(tmp_path)
    for name in ("bikes_12.mp4", "ten_bit.mkv"):
        expected = score(replace(ffmpeg_engine("full"), feature_set=CONTENT), clips(name), tmp_path).row
        assert_equal_rows(score(engine, clips(name), tmp_path).row, expected, 1e-6)


@pytest.mark.parametrize("kind", ["ffmpeg", "vmaf"])
def test_a_set_may_have_filters_alone(kind: str, clips: Clips, tmp_path: Path) -> None:
    engine = ffmpeg_engine("full") if kind == "ffmpeg" else vmaf_engine(write_standin(tmp_path / "v"), "full")
    engine = replace(engine, feature_set=changed()).probed(tmp_path)
    row = score(engine, clips("bikes_12.mp4"), tmp_path)
    values = [float(f["lavfi.siti.si"]) for f in plainly(clips("bikes_12.mp4"), tmp_path, "siti")]
    assert row.row["si_mean"] == pytest.approx(np.mean(values), abs=1e-9)
    assert (row.frames, row.finite_frames) == (12, 12)


def test_a_flat_clip_has_neither_blur_nor_blocks(tmp_path: Path) -> None:
    clip = tmp_path / "x.mkv"
    media.run_ffmpeg("-f", "lavfi", "-i", "color=gray:s=64x64", "-frames:v", "2", "-c:v", "ffv1", clip)
    row = score(replace(ffmpeg_engine("full"), feature_set=CONTENT), clip, tmp_path).row
    assert math.isnan(row["blur_mean"])
    assert math.isnan(row["block_mean"])
    assert (row["si_mean"], row["luma_std"]) == (0, 0)


def test_options_reach_the_filter(clips: Clips, tmp_path: Path) -> None:
    features = {"blur": {**PLAIN["features"]["si"], "filter": "blurdetect", "keys": ["lavfi.blur"]}}
    known = changed(filters={"blurdetect": {"radius": 3, "block_pct": 50}}, features=features)
    engine = replace(ffmpeg_engine("full"), feature_set=known).probed(tmp_path)
    frames = plainly(clips("bikes_12.mp4"), tmp_path, "blurdetect=radius=3:block_pct=50")
    assert score(engine, clips("bikes_12.mp4"), tmp_path).row["blur_mean"] == pytest.approx(
        np.mean([float(frame["lavfi.blur"]) for frame in frames]), abs=1e-9
    )


WRONG = [
    ({"filters": {"sitti": {}}}, r"filters has sitti, expected siti"),
    ({"filters": {"siti": {"a": "1:b=2"}}}, r"filters\.siti\.a is 1:b=2, expected letters"),
    ({"filters": {"blurdetect": {}}}, r"features\.si\.filter has siti, expected one of blurdetect"),
    ({"filters": {}}, r"features\.si\.filter has siti, expected"),
]
WRONG_FEATURES = [
    ({"keys": ["lavfi.siti.so"]}, r"features\.si\.keys has lavfi\.siti\.so, expected lavfi\.siti\.s?i"),
    ({"keys": ["si"]}, r"features\.si\.keys has si, expected"),
    ({"identity": 0, "source": "x"}, r"features\.si\.identity: what a filter gives is measured"),
    ({"extractor": "adm"}, r"features\.si has extractor and filter, expected one of them"),
]


@pytest.mark.parametrize(
    ("parts", "message"),
    [*WRONG, *(({"features": {"si": PLAIN["features"]["si"] | f}}, m) for f, m in WRONG_FEATURES)],
)
def test_what_is_not_known_of_a_filter_is_refused(parts: dict[str, Any], message: str) -> None:
    documented("a feature set that is not there, or is none")
    with pytest.raises(UsageError, match=message):
        changed(**parts)


PROBED = [
    ({"siti": {"sumary": True}}, "siti has no option sumary", "print_summary"),
    ({"siti": {"print_sumary": True}}, "siti has no option print_sumary", "is print_summary meant?"),
    ({"siti": {"print_summary": "x"}}, "siti does not take print_summary = x", "correct the feature set"),
]


@pytest.mark.parametrize("kind", ["ffmpeg", "vmaf"])
@pytest.mark.parametrize(("filters", "message", "hint"), PROBED)
def test_options_that_a_filter_does_not_take_are_found_by_the_probe(
    filters: dict[str, Any], message: str, hint: str, kind: str, tmp_path: Path
) -> None:
    documented("a feature set that the engine does not measure")
    engine = ffmpeg_engine("full") if kind == "ffmpeg" else vmaf_engine(write_standin(tmp_path / "v"), "full")
    with pytest.raises(UnavailableError, match=re.escape(message)) as caught:
        replace(engine, feature_set=changed(filters=filters)).probe(tmp_path)
    assert hint in caught.value.hint


def test_an_ffmpeg_that_lacks_a_filter_is_told_with_the_columns(tmp_path: Path) -> None:
    documented("a feature set that the engine does not measure")
    program = write_program(
        tmp_path / "ffmpeg",
        f'case "$*" in *siti*) echo "[x] [error] No such filter: \'siti\'" >&2; exit 8;; esac\n'
        f'exec "{FFMPEG}" "$@"\n',
    )
    engine = FfmpegEngine(program, "full", "cpu", 1, feature_set=CONTENT)
    with pytest.raises(UnavailableError, match=r"lacks the filter siti: the columns of si, ti cannot"):
        engine.probe(tmp_path)


def test_a_key_that_the_filter_writes_with_an_option_only_is_told(tmp_path: Path) -> None:
    feature = PLAIN["features"]["si"] | {"filter": "signalstats", "keys": ["lavfi.signalstats.TOUT"]}
    for options, ends in (({}, False), ({"stat": "tout"}, True)):
        known = changed(filters={"signalstats": options}, features={"tout": feature})
        engine = FfmpegEngine(FFMPEG, "full", "cpu", 1, feature_set=known)
        if ends:
            engine.probe(tmp_path)
        else:
            with pytest.raises(UnavailableError, match=r"frame 0 has no tout"):
                engine.probe(tmp_path)


HEAD = "frame:{}    pts:{}       pts_time:0.04\n"
TWO = [HEAD.format(0, 0), "lavfi.siti.si=1.5\n", HEAD.format(1, 1), "lavfi.siti.si=2\n"]
BROKEN = [
    (TWO[:2], "the filters measured 1 frames, 2 were decoded"),
    ([], "the filters measured 0 frames, 2 were decoded"),
    (TWO[:3], "frame 1 has no si: the filters wrote none of lavfi.siti.si"),
    ([*TWO[:2], HEAD.format(2, 2), TWO[3]], "expected the next frame or another key"),
    ([TWO[1], *TWO], "expected the next frame or another key"),
    ([*TWO, TWO[3]], "expected the next frame or another key"),
    ([*TWO[:3], "lavfi.siti.si=2,5\n"], "si is 2,5 on frame 1, expected a number"),
    ([*TWO[:3], "lavfi.siti.si=1e200\n"], "si is 1e200 on frame 1, expected a number"),
    ([*TWO, "\xff"], "the file of the filters cannot be read"),
    (None, "the filters wrote no file"),
]


@pytest.mark.parametrize(("lines", "message"), BROKEN)
def test_a_file_of_the_filters_that_cannot_be_trusted_is_a_bad_log(
    lines: list[str] | None, message: str, tmp_path: Path
) -> None:
    if lines is not None:
        (tmp_path / "x.txt").write_text("".join(lines), encoding="latin-1")
    with pytest.raises(LogError, match=re.escape(message)):
        read_measured(tmp_path / "x.txt", changed(), 2, 1 << 20)


def test_no_value_of_a_frame_is_a_nan(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("".join([*TWO[:3], "lavfi.siti.si=-nan\n"]))
    found = read_measured(tmp_path / "x.txt", changed(), 2, 1 << 20)["si"]
    np.testing.assert_array_equal(found, [1.5, math.nan])


def test_what_a_decoder_wrote_into_the_metadata_is_no_value(clips: Clips, tmp_path: Path) -> None:
    (one,) = replace(ffmpeg_engine("full"), feature_set=changed()).passes(clips("bikes_12.mp4"), "x")
    graph = one.arguments[one.arguments.index("-lavfi") + 1]
    assert "[content]format=pix_fmts=yuv420p,metadata=mode=delete,siti," in graph
    one.arguments[one.arguments.index(graph)] = graph.replace(
        "split=3", r"metadata=mode=add:key=lavfi.siti.si:value=7,split=3"
    )
    run([one.arguments], folder=tmp_path, deadline=60)
    assert (read_measured(tmp_path / one.metadata, changed(), 12, 1 << 20)["si"] != 7).all()


def test_every_filter_that_a_set_may_name_is_known_to_the_bundled_ffmpeg(tmp_path: Path) -> None:
    features = {
        f"f{at}": PLAIN["features"]["si"] | {"filter": name, "keys": [key]}
        for at, (name, key) in enumerate((name, key) for name, one in FILTERS.items() for key in one.keys)
    }
    options: dict[str, Any] = {name: {} for name in FILTERS} | {"signalstats": {"stat": "tout+vrep+brng"}}
    known = changed(filters=options, features=features)
    FfmpegEngine(FFMPEG, "full", "cpu", 1, feature_set=known).probe(tmp_path)


def test_the_file_of_the_set_names_what_runs() -> None:
    document = tomllib.loads(CONTENT.text)
    assert list(document["filters"]) == ["siti", "blurdetect", "blockdetect", "signalstats"]
    assert CONTENT.digest != parse_document("content", document | {"filters": {
        **document["filters"], "siti": {"print_summary": True}}}).digest  # fmt: skip
