"""Frame sizes that a model refuses: it is left out for such a clip, and the other models score it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from standin.vmaf import write_standin
from support import media
from support.engine_helpers import FFMPEG, ffmpeg_engine, score, vmaf_engine, write_program
from support.feature_sets import set_of

from vmafarm.schema.extractors import ACCEPTED_SIZES
from vmafarm.schema.feature_set import FeatureSet

OLD, V1, V1_2160, V1_5H = "vmaf_v0.6.1", "vmaf_v1.0.16_3d0h", "vmaf_v1.0.16_3d0h_2160", "vmaf_v1.0.16_5d0h"
MODELS = set_of([OLD, V1, V1_2160, V1_5H])


def clip_of(folder: Path, size: str) -> Path:
    """Two frames of a size."""
    return media.make_clip(folder / f"{size}.mkv", size=size, codec="ffv1", frames=2)


def scored(known: FeatureSet, size: str, folder: Path) -> tuple[list[bool], tuple[str, ...], int]:
    """Which features have a value on a clip of a size, the remarks, and the frames."""
    engine = replace(ffmpeg_engine("full"), feature_set=known)
    found = score(engine, clip_of(folder, size), folder)
    return [not math.isnan(found.row[f"{name}_mean"]) for name in known.names], found.notes, found.frames


@pytest.mark.parametrize(
    ("size", "has"),
    [
        ("640x318", [True, True, True, True]),
        ("640x316", [True, True, False, True]),
        ("266x270", [True, True, False, True]),
        ("640x264", [True, True, False, False]),
        ("160x216", [True, True, False, False]),
        ("160x214", [True, False, False, False]),
        ("216x158", [True, False, False, False]),
        ("176x144", [True, False, False, False]),
        ("1922x190", [True, False, False, False]),
    ],
)
def test_a_model_that_refuses_a_size_is_left_out_and_the_others_score_the_clip(
    size: str, has: list[bool], tmp_path: Path
) -> None:
    found, notes, frames = scored(MODELS, size, tmp_path)
    assert (found, frames) == (has, 2)
    assert len(notes) == has.count(False)
    if size == "1922x190":
        assert notes[0] == f"{V1} is left out: 1922x190 is too wide and low for it"
    if size == "176x144":
        assert notes[0] == f"{V1} refuses 176x144"


@pytest.mark.parametrize("kind", ["ffmpeg", "vmaf"])
@pytest.mark.parametrize("producers", [[V1], ["cambi"], [V1, "speed_chroma"]])
def test_a_clip_that_all_of_a_set_refuses_has_a_row_without_numbers(
    producers: list[str], kind: str, tmp_path: Path
) -> None:
    engine = ffmpeg_engine("full") if kind == "ffmpeg" else vmaf_engine(write_standin(tmp_path / "v"), "full")
    known = set_of(producers)
    row = score(replace(engine, feature_set=known), clip_of(tmp_path, "100x60"), tmp_path)
    assert all(math.isnan(row.row[name]) for name in known.feature_columns)
    assert (row.frames, row.finite_frames, row.row["width"]) == (2, 2, 100)


@pytest.mark.parametrize("version", [name for name in ACCEPTED_SIZES if name.startswith("vmaf_")])
def test_the_clip_of_the_probe_is_large_enough_for_every_model(version: str, tmp_path: Path) -> None:
    engine = replace(ffmpeg_engine("full"), feature_set=replace(set_of([version])))
    assert engine.probed(tmp_path).capabilities.libvmaf_version


def test_a_model_that_crashes_on_a_clip_is_left_out_and_the_others_score_it(
    clips: Callable[[str], Path], tmp_path: Path
) -> None:
    script = f'"{FFMPEG}" "$@" || exit\ncase "$*" in *{V1}*) kill -SEGV $$;; esac\n'
    program = write_program(tmp_path / "ffmpeg", script)
    engine = replace(ffmpeg_engine("full", program), feature_set=set_of([OLD, V1]))
    found = score(engine, media.first_frames(clips("240x240.mkv"), tmp_path / "x.mkv", 2), tmp_path)
    assert found.row["f0_mean"] > 90
    assert math.isnan(found.row["f1_mean"])
    assert found.notes[0].startswith(f"{V1} is left out: with it, ffmpeg: killed by SIGSEGV")
