"""Engines measure what their feature set names: other models, extractors with options, or no model at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from standin.vmaf import write_standin
from support.engine_helpers import FFMPEG, ffmpeg_engine, score, vmaf_engine
from support.feature_sets import small_set

from vmafarm.common.errors import UnavailableError
from vmafarm.engines.ffmpeg import FfmpegEngine
from vmafarm.engines.libvmaf_log import LogError, read_log
from vmafarm.process.run import run
from vmafarm.schema.read_set import built_in

Clips = Callable[[str], Path]


CAMBI = small_set(
    {"cambi": {"window_size": 63}, "psnr": {"enable_chroma": False}}, cambi="cambi_ws_63", psnr_y="psnr_y"
)


def plainly(clip: Path, folder: Path, words: str) -> list[dict[str, float]]:
    """The metrics of each frame by a command line as users write it."""
    graph = f"format=yuv420p,split[a][b];[a][b]libvmaf={words}:log_fmt=json:log_path=plain.json"
    command = [str(FFMPEG), "-nostdin", "-y", "-i", str(clip), "-lavfi", graph, "-f", "null", "-"]
    run([command], folder=folder, deadline=60)
    return [frame["metrics"] for frame in json.loads((folder / "plain.json").read_text())["frames"]]


def test_models_side_by_side_are_what_a_plain_run_of_each_gives(clips: Clips, tmp_path: Path) -> None:
    models = built_in("models")
    engine = replace(ffmpeg_engine("full"), feature_set=models).probed(tmp_path)
    row = score(engine, clips("plain.mp4"), tmp_path).row
    assert tuple(row) == models.columns
    for model in models.models:
        frames = plainly(clips("plain.mp4"), tmp_path, f"model=version={model.version}")
        values = np.array([frame["vmaf"] for frame in frames])
        assert row[f"{model.name}_mean"] == pytest.approx(values.mean(), abs=1e-9)
        assert row[f"{model.name}_std"] == pytest.approx(values.std(), abs=1e-9)


def test_what_is_informative_is_as_in_the_default_set(clips: Clips, tmp_path: Path) -> None:
    found = built_in("informative")
    clip = clips("240x240.mkv")
    row = score(replace(ffmpeg_engine("full"), feature_set=found).probed(tmp_path), clip, tmp_path).row
    full = score(ffmpeg_engine("full"), clip, tmp_path).row
    assert tuple(row) == found.columns
    assert row == {name: full[name] for name in found.columns}


def test_extractors_get_their_options_and_no_model_runs(clips: Clips, tmp_path: Path) -> None:
    engine = replace(ffmpeg_engine("full"), feature_set=CAMBI).probed(tmp_path)
    row = score(engine, clips("240x240.mkv"), tmp_path).row
    frames = plainly(clips("240x240.mkv"), tmp_path, r"model='':feature='name=cambi\:window_size=63'")
    values = np.array([frame["cambi_ws_63"] for frame in frames])
    assert "vmaf" not in frames[0]
    assert row["cambi_mean"] == pytest.approx(values.mean(), abs=1e-9)
    assert row["cambi_p05"] == pytest.approx(np.quantile(values, 0.05), abs=1e-9)
    assert tuple(row) == CAMBI.columns


def test_frame_sizes_that_an_extractor_refuses_are_kept_from_it_in_every_set(
    clips: Clips, tmp_path: Path
) -> None:
    row = score(replace(ffmpeg_engine("full"), feature_set=CAMBI), clips("18x18.mkv"), tmp_path).row
    assert np.isnan(row["cambi_mean"])
    assert row["psnr_y_mean"] == 60.0


def test_a_key_that_the_options_change_is_told_by_the_probe(tmp_path: Path) -> None:
    wrong = small_set({"cambi": {"window_size": 63}}, cambi="cambi")
    with pytest.raises(UnavailableError, match=r"cambi is in the log as cambi_ws_63, with options"):
        FfmpegEngine(FFMPEG, "full", "cpu", 1, feature_set=wrong).probe(tmp_path)


def test_what_a_build_lacks_is_found_by_the_probe(tmp_path: Path) -> None:
    wrong = small_set({"psnr": {}, "nonsense": {}}, psnr_y="psnr_y", nonsense="nonsense")
    with pytest.raises(UnavailableError, match=r"lacks the feature extractors nonsense"):
        FfmpegEngine(FFMPEG, "full", "cpu", 1, feature_set=wrong).probe(tmp_path)


def test_values_of_a_models_options_are_taken_for_nothing_else(tmp_path: Path) -> None:
    metrics = {"integer_motion2": 1.0, "integer_motion2_mmxv_18": 2.0, "vmaf": 3.0}
    log = tmp_path / "log.json"
    log.write_text(json.dumps({"version": "3", "frames": [{"frameNum": 0, "metrics": metrics}]}))
    informative, models = built_in("informative"), built_in("models")
    with pytest.raises(LogError, match=r"motion2 is in the log under two keys"):
        read_log(log, ["motion2"], feature_set=informative)
    both = replace(informative, models=models.models)
    assert read_log(log, ["motion2"], feature_set=both).values["motion2"].tolist() == [1.0]


def test_the_program_vmaf_is_asked_for_the_same(tmp_path: Path) -> None:
    program = write_standin(tmp_path / "standin")
    (one,) = replace(vmaf_engine(program, "full"), feature_set=built_in("models")).passes(Path("/a.y4m"), "a")
    words = [one.arguments[at + 1] for at, word in enumerate(one.arguments) if word == "--model"]
    assert words == [
        "version=vmaf_v0.6.1:name=vmaf", "version=vmaf_v0.6.1neg:name=vmaf_neg",
        "version=vmaf_4k_v0.6.1:name=vmaf_4k",
    ]  # fmt: skip
    (one,) = replace(vmaf_engine(program, "full"), feature_set=CAMBI).passes(Path("/a.y4m"), "a")
    words = [one.arguments[at + 1] for at, word in enumerate(one.arguments) if word == "--feature"]
    assert words == ["cambi=window_size=63", "psnr=enable_chroma=false"]
    assert "--model" not in one.arguments
    assert "--no_prediction" in one.arguments
