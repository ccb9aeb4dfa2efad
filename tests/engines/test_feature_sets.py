"""Engines measure what their feature set names: other models, extractors with options, or no model at all."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from standin.vmaf import write_standin
from support import media
from support.engine_helpers import FFMPEG, assert_equal_rows, ffmpeg_engine, score, vmaf_engine
from support.errors_document import documented
from support.feature_sets import parse_document, set_in_the_documentation, small_set

from vmafarm.common.errors import UnavailableError
from vmafarm.engines.base import Engine
from vmafarm.engines.ffmpeg import FfmpegEngine
from vmafarm.engines.libvmaf_log import LogError, read_log
from vmafarm.engines.probe import run_probe, write_probe_clip
from vmafarm.process.run import run
from vmafarm.schema.extractors import OPTIONS
from vmafarm.schema.feature_set import FeatureSet
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


def test_what_the_public_project_extracts_is_what_a_plain_run_of_it_gives(
    clips: Clips, tmp_path: Path
) -> None:
    clip, known = media.first_frames(clips("bikes_12.mp4"), tmp_path / "x.mkv", 3), built_in("full-v1")
    engine = replace(ffmpeg_engine("full"), feature_set=known).probed(tmp_path)
    row = score(engine, clip, tmp_path).row
    assert tuple(row) == known.columns
    extractors = "|".join(f"name={name}" for name in known.extractors)
    frames = plainly(clip, tmp_path, rf"model=version=vmaf_v0.6.1:feature='{extractors}'")
    new = plainly(clip, tmp_path, "model=version=vmaf_v1.0.16_3d0h")
    for feature in known.features:
        if feature.name == "vmaf_v1":
            values = np.array([frame["vmaf"] for frame in new])
        else:
            key = next(key for key in feature.keys if key in frames[0])
            values = np.array([np.nan if f[key] is None else f[key] for f in frames])
        assert row[f"{feature.name}_mean"] == pytest.approx(values.mean(), abs=1e-9, nan_ok=True)
        assert row[f"{feature.name}_std"] == pytest.approx(values.std(), abs=1e-9, nan_ok=True)
        if feature.identity is not None:
            assert row[f"{feature.name}_mean"] == pytest.approx(feature.identity[8], abs=0, nan_ok=True)
    quickly = replace(ffmpeg_engine("identity"), feature_set=known).probed(tmp_path)
    assert_equal_rows(score(quickly, clip, tmp_path).row, row, 1e-9)


@pytest.mark.parametrize(("name", "bits"), [("240x240.mkv", 8), ("ten_bit.mkv", 10)])
def test_what_is_filled_in_of_full_v1_is_what_is_measured(
    clips: Clips, tmp_path: Path, name: str, bits: int
) -> None:
    known = built_in("full-v1")
    clip = media.first_frames(clips(name), tmp_path / "x.mkv", 2)
    found = score(replace(ffmpeg_engine("full"), feature_set=known), clip, tmp_path)
    assert found.bit_depth == bits
    for feature in known.known:
        size = found.row["width"], found.row["height"]
        expected = known.identity_value(feature, bits, *size)
        assert found.row[f"{feature}_mean"] == pytest.approx(expected, abs=0, nan_ok=True)


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
    with pytest.raises(
        UnavailableError, match=r"as cambi_ws_63, as the set's options make it, expected cambi"
    ):
        FfmpegEngine(FFMPEG, "full", "cpu", 1, feature_set=wrong).probe(tmp_path)


PROBED = [
    (
        {"psnr": {}, "nonsense": {}},
        {"psnr_y": "psnr_y", "nonsense": "nonsense"},
        "lacks the feature extractors nonsense",
        "use a build",
    ),
    ({"camby": {}}, {"camby": "cambi"}, "lacks the feature extractors camby", "is cambi meant?"),
    ({"cambi": {}}, {"cambi": "camby"}, "its log has none of the keys camby", "the log has cambi"),
    ({"cambi": {"window": 63}}, {"cambi": "cambi"}, "cambi has no option window", "is window_size meant?"),
    ({"cambi": {"window": 63}}, {"cambi": "cambi_ws_63"}, "cambi has no option window", "is window_size"),
    (
        {"cambi": {"window_size": "abc"}},
        {"cambi": "cambi_ws_63"},
        "cambi, or does not take a value of their options (cambi: window_size = abc)",
        "correct the options in the feature set, or use",
    ),
    (
        {"cambi": {"topk": 0.2, "window_size": -1}},
        {"cambi": "cambi_ws_63"},
        "lacks the feature extractors cambi, or does not take a value of their options "
        "(cambi: topk = 0.2, cambi: window_size = -1): the columns of cambi cannot be measured",
        "correct the options",
    ),
    (
        {"cambi": {"quirk": "x"}},
        {"cambi": "cambi"},
        "has no option quirk",
        "it has cambi_eotf",
    ),
    (
        {"float_psnr": {"gamma": 2}},
        {"float_psnr": "float_psnr"},
        "float_psnr has no option gamma",
        "take it out",
    ),
]


@pytest.mark.parametrize(("extractors", "keys", "message", "hint"), PROBED)
def test_what_a_build_does_not_measure_is_found_by_the_probe(
    extractors: dict, keys: dict[str, str], message: str, hint: str, tmp_path: Path
) -> None:
    documented("a feature set that the engine does not measure")
    engine = FfmpegEngine(FFMPEG, "full", "cpu", 1, feature_set=small_set(extractors, **keys))
    with pytest.raises(UnavailableError) as caught:
        engine.probe(tmp_path)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_the_options_that_are_known_of_an_extractor_are_those_that_it_has(
    tmp_path: Path,
) -> None:
    for extractor in ("vif", "float_ms_ssim"):  # a few: each option takes a run of the program
        for option in OPTIONS[extractor]:
            engine = ffmpeg_engine("full")
            known = small_set({extractor: {option: "nonsense"}}, **{extractor: extractor})
            (one,) = replace(engine, feature_set=known).passes(tmp_path / "probe.y4m", "probe")
            write_probe_clip(tmp_path / "probe.y4m")
            assert run_probe(FFMPEG, one.arguments, tmp_path, None).returncode != 0, option


def test_an_extractor_runs_with_its_options_beside_a_model_that_runs_it_without(
    clips: Clips, tmp_path: Path
) -> None:
    document = tomllib.loads(built_in("models").text)
    document["extractors"] = {"vif": {"vif_enhn_gain_limit": 1.0}}
    document["features"]["limited"] = {
        "extractor": "vif", "keys": ["integer_vif_scale0_egl_1"], "what": "x", "on_identity": "measured",
    }  # fmt: skip
    engine = replace(ffmpeg_engine("full"), feature_set=parse_document("mine", document)).probed(tmp_path)
    row = score(engine, clips("plain.mp4"), tmp_path).row
    assert row["limited_mean"] == pytest.approx(1, abs=1e-4)
    assert row["vmaf_mean"] > 97


def set_with_options_of_motion(**keys: str) -> FeatureSet:
    document = tomllib.loads(built_in("informative").text)
    document["extractors"]["motion"] = {"motion_force_zero": True}
    for name, key in keys.items():
        document["features"][name]["keys"] = [key]
    return parse_document("mine", document)


@pytest.mark.parametrize("kind", ["ffmpeg", "vmaf"])
def test_a_models_value_is_not_taken_for_that_of_an_extractor_with_options(kind: str, tmp_path: Path) -> None:
    documented("a feature set that the engine does not measure")
    engine: Engine = ffmpeg_engine("full")
    if kind == "vmaf":
        engine = vmaf_engine(write_standin(tmp_path / "standin", dialect="today"), "full")
    wrong = set_with_options_of_motion(motion2="integer_motion2_force_0")
    with pytest.raises(UnavailableError) as caught:
        replace(engine, feature_set=wrong).probe(tmp_path)
    assert caught.value.message.endswith(
        " does not measure motion, motion3 with the options of motion: a model of the set runs motion "
        "itself, without these options, and what the log has under VMAF_integer_feature_motion_sad_score, "
        "integer_motion3 is the model's"
    )
    sad, third = "VMAF_integer_feature_motion_sad_score_force_0", "integer_motion3_force_0"
    assert caught.value.hint == (
        f"correct the keys of the feature set to those that the options make: motion: {sad}; motion3: {third}"
    )
    right = set_with_options_of_motion(motion2="integer_motion2_force_0", motion=sad, motion3=third)
    replace(engine, feature_set=right).probe(tmp_path)


def test_what_a_model_makes_with_options_of_its_own_is_not_that_of_others(tmp_path: Path) -> None:
    document = tomllib.loads(built_in("models").text)
    document["extractors"] = {"vif": {"vif_skip_scale0": True}}
    document["features"]["skipped"] = {
        "extractor": "vif", "keys": ["integer_vif_scale1_egl_1"], "what": "x", "on_identity": "measured",
    }  # fmt: skip
    engine = replace(ffmpeg_engine("full"), feature_set=parse_document("mine", document))
    with pytest.raises(UnavailableError, match=r"under integer_vif_scale1_egl_1 is the model's") as caught:
        engine.probe(tmp_path)
    assert "integer_vif_scale1_ssclz" in caught.value.hint


def test_an_option_that_changes_no_value_is_taken_beside_a_model(tmp_path: Path) -> None:
    document = tomllib.loads(built_in("informative").text)
    document["extractors"]["motion"] = {"motion_blend_factor": 1.0}
    replace(ffmpeg_engine("full"), feature_set=parse_document("mine", document)).probe(tmp_path)


def test_values_of_a_models_options_are_taken_for_nothing_else(tmp_path: Path) -> None:
    metrics = {"integer_motion2": 1.0, "integer_motion2_mmxv_18": 2.0, "vmaf": 3.0}
    log = tmp_path / "log.json"
    log.write_text(json.dumps({"version": "3", "frames": [{"frameNum": 0, "metrics": metrics}]}))
    informative, models = built_in("informative"), built_in("models")
    with pytest.raises(LogError, match=r"motion2 is in the log under two keys"):
        read_log(log, ["motion2"], feature_set=informative)
    both = replace(informative, models=models.models)
    assert read_log(log, ["motion2"], feature_set=both).values["motion2"].tolist() == [1.0]


def test_an_option_that_the_program_vmaf_passes_over_is_found_by_the_probe(tmp_path: Path) -> None:
    documented("a feature set that the engine does not measure")
    wrong = small_set({"cambi": {"window": 63}}, cambi="cambi")
    engine = vmaf_engine(write_standin(tmp_path / "standin"), "full")
    with pytest.raises(UnavailableError, match=r"cambi has no option window, which libvmaf would pass"):
        replace(engine, feature_set=wrong).probe(tmp_path)


def test_an_extractor_that_the_program_vmaf_does_not_load_may_have_a_wrong_value(tmp_path: Path) -> None:
    engine = vmaf_engine(write_standin(tmp_path / "standin", lacks=["cambi"]), "full")
    with pytest.raises(UnavailableError, match=r"cambi, or does not take .* \(cambi: window_size = 63\)"):
        replace(engine, feature_set=CAMBI).probe(tmp_path)


@pytest.mark.parametrize("known", [built_in("models"), CAMBI, built_in("full-v1")], ids=lambda f: f.name)
def test_the_program_vmaf_measures_the_same(known: FeatureSet, clips: Clips, tmp_path: Path) -> None:
    clip = media.first_frames(clips("240x240.mkv"), tmp_path / "x.mkv", 3)
    expected = score(replace(ffmpeg_engine("full"), feature_set=known), clip, tmp_path).row
    engine = vmaf_engine(write_standin(tmp_path / "standin", dialect="today"), "full")
    engine = replace(engine, feature_set=known).probed(tmp_path)
    assert_equal_rows(score(engine, clip, tmp_path).row, expected, 1e-6)


def test_the_program_vmaf_is_asked_for_the_same(tmp_path: Path) -> None:
    program = write_standin(tmp_path / "standin")
    (one,) = replace(vmaf_engine(program, "full"), feature_set=built_in("models")).passes(Path("/a.y4m"), "a")
    words = [one.arguments[at + 1] for at, word in enumerate(one.arguments) if word == "--model"]
    assert words == [
        "version=vmaf_v0.6.1:name=vmaf", "version=vmaf_v0.6.1neg:name=vmaf_neg",
        "version=vmaf_4k_v0.6.1:name=vmaf_4k", "version=vmaf_v1.0.16_3d0h:name=vmaf_v1",
    ]  # fmt: skip
    (one,) = replace(vmaf_engine(program, "full"), feature_set=CAMBI).passes(Path("/a.y4m"), "a")
    words = [one.arguments[at + 1] for at, word in enumerate(one.arguments) if word == "--feature"]
    assert words == ["cambi=window_size=63", "psnr=enable_chroma=false"]
    assert "--model" not in one.arguments
    assert "--no_prediction" in one.arguments


def test_the_set_in_the_documentation_is_measured_by_the_embedded_engine(tmp_path: Path) -> None:
    known = set_in_the_documentation()
    engine = replace(ffmpeg_engine("full"), feature_set=known).probed(tmp_path)
    assert engine.capabilities.lacking == ()
