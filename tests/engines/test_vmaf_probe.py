"""The probe of the fork's command line: what a build lacks is found before the first clip."""

from __future__ import annotations

import math
import shlex
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from standin.vmaf import write_standin
from support.engine_helpers import (
    assert_equal_rows,
    broken,
    ffmpeg_engine,
    score,
    unavailable,
    vmaf_engine,
    write_program,
)

from vmafarm.process.run import Stop, Stopped
from vmafarm.schema.features import FEATURE_NAMES, KNOWN

Clips = Callable[[str], Path]


# The probe


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_probe_of_a_whole_build_finds_nothing_amiss(standin: Path, tmp_path: Path, backend: str) -> None:
    engine = vmaf_engine(standin, "full", backend).probed(tmp_path)
    assert engine.constant() == ()
    found = engine.capabilities
    known = vmaf_engine(standin).capabilities
    assert found == replace(
        known, version="3.0.0-standin", libvmaf_version="3.0.0-standin",
        decoder_version=found.decoder_version, dialect="the fork as of May 2026", keys=found.keys,
        without_cuda=known.without_cuda if backend == "cuda" else frozenset(),
    )  # fmt: skip
    assert found.decoder_version
    assert sorted(name for name, _ in found.keys) == sorted(FEATURE_NAMES)
    motion = "integer_motion" if backend == "cuda" else "VMAF_integer_feature_motion_sad_score"
    assert dict(found.keys) | {"motion": motion, "adm2": "integer_adm2"} == dict(found.keys)
    assert vmaf_engine(standin, "identity", backend).constant() == KNOWN


def test_lacking_extractor_with_a_known_value_is_filled(clip: Path, tmp_path: Path) -> None:
    program = write_standin(tmp_path / "standin", lacks=["psnr_hvs", "ssimulacra2"])
    engine = vmaf_engine(program, "full").probed(tmp_path)
    assert engine.capabilities.lacking == ("psnr_hvs", "ssimulacra2")
    assert engine.constant() == ("psnr_hvs", "ssimulacra2")
    row = score(engine, clip, tmp_path).row
    assert (row["ssimulacra2_mean"], row["ssimulacra2_std"]) == (100.0, 0.0)
    assert math.isnan(row["psnr_hvs_mean"])


def test_extractor_that_lacks_cuda_is_run_on_the_cpu(tmp_path: Path, clips: Callable[[str], Path]) -> None:
    program = write_standin(tmp_path / "standin", lacks=["psnr_cuda", "motion_cuda"])
    engine = vmaf_engine(program, "full", "cuda").probed(tmp_path)
    assert (engine.constant(), engine.capabilities.lacking) == ((), ())
    on_gpu, on_cpu = engine.passes(tmp_path / "x.y4m", "x")
    assert {"psnr", "motion"} <= set(on_cpu.extractors)
    assert not {"psnr", "motion"} & set(on_gpu.extractors)


def test_cuda_extractor_without_one_of_its_features_is_run_on_the_cpu(
    tmp_path: Path, clips: Callable[[str], Path]
) -> None:
    program = write_standin(tmp_path / "standin", cuda_omits=["integer_motion3"])
    engine = vmaf_engine(program, backend="cuda").probed(tmp_path)
    row = score(engine, clips("160x240.mkv"), tmp_path).row
    expected = score(ffmpeg_engine(), clips("160x240.mkv"), tmp_path).row
    assert_equal_rows(row, expected, 1e-6)
    assert expected["motion3_mean"] > 0


def test_extractor_that_both_lack_and_a_constant_knows_is_filled(tmp_path: Path) -> None:
    lacks = ["float_ms_ssim_cuda", "float_ms_ssim"]
    engine = vmaf_engine(write_standin(tmp_path / "standin", lacks=lacks), "full", "cuda")
    assert engine.probed(tmp_path).constant() == ("float_ms_ssim",)


@pytest.mark.parametrize("lists_options", [True, False])
def test_build_that_passes_over_unknown_options_is_asked_in_the_old_way(
    tmp_path: Path, lists_options: bool
) -> None:
    standin = write_standin(tmp_path / "standin", backend_option=False, unknown_options="ignored")
    script = f'test $# = 0 && exit 1; exec {shlex.quote(str(standin))} "$@"\n'
    program = standin if lists_options else write_program(tmp_path / "vmaf", script)
    engine = vmaf_engine(program).probed(tmp_path)
    (one,) = engine.passes(tmp_path / "x.y4m", "x")
    assert "--no_cuda" in one.arguments
    assert "--backend" not in one.arguments


@pytest.mark.parametrize("plan", ["full", "identity"])
def test_lacking_motion_v2_loses_no_column(tmp_path: Path, plan: str) -> None:
    engine = vmaf_engine(write_standin(tmp_path / "standin", lacks=["motion_v2"]), plan)
    engine = engine.probed(tmp_path)
    assert engine.capabilities.lacking == (("motion_v2",) if plan == "full" else ())
    assert engine.constant() == (() if plan == "full" else KNOWN)


@pytest.mark.parametrize(
    ("lacks", "backend", "columns"),
    [
        ("cambi", "cpu", "cambi"),
        ("cambi", "cuda", "cambi"),
        ("adm", "cpu", "adm2, adm_scale0, adm_scale1, adm_scale2, adm_scale3"),
    ],
)
def test_lacking_extractor_that_must_be_measured_is_unavailable_and_names_the_columns(
    tmp_path: Path, lacks: str, backend: str, columns: str
) -> None:
    engine = vmaf_engine(write_standin(tmp_path / "standin", lacks=[lacks]), backend=backend)
    error = unavailable(engine, tmp_path)
    assert f"lacks the feature extractors {lacks}:" in error.message
    assert f"the columns of {columns} cannot be measured" in error.message


def test_build_that_lost_its_models_is_unavailable_and_says_why(tmp_path: Path) -> None:
    for how in ("no_models_silently", "no_models"):
        error = unavailable(broken(tmp_path, how), tmp_path)
        assert "lacks the model vmaf_v0.6.1: it was built without xxd" in error.message


def test_build_from_before_motion3_is_unavailable_and_names_it(tmp_path: Path) -> None:
    engine = vmaf_engine(write_standin(tmp_path / "standin", omits=["integer_motion3"]))
    error = unavailable(engine, tmp_path)
    assert "does not measure motion3" in error.message
    assert error.hint == "use a newer version of it"


@pytest.mark.parametrize(
    ("how", "backend", "words"),
    [
        ("cuda_init_falls_back", "cuda", "CUDA could not be initialised (vmaf_cuda_state_init)"),
        ("cuda_init_exit_100", "cuda", "CUDA could not be initialised (vmaf_cuda_state_init)"),
        ("exit_255", "cpu", "exit status 255: problem reading pictures"),
        ("flush_failure_234", "cpu", "exit status 234: problem flushing context"),
        ("abort_without_output", "cpu", "vmaf: killed by SIGABRT"),
        ("enomem", "cpu", "the engine could not allocate memory"),
        ("log_not_written", "cpu", "the engine wrote no log"),
        ("log_empty", "cpu", "the log is empty"),
        ("log_cut", "cpu", "the log is cut or not JSON"),
        ("log_missing_key", "cpu", "has no "),
    ],
)
def test_engine_that_cannot_score_two_frames_is_unavailable(
    tmp_path: Path, how: str, backend: str, words: str
) -> None:
    error = unavailable(broken(tmp_path, how, backend), tmp_path)
    assert words in error.message
    assert ('engine.backend = "cpu"' in error.hint) is (backend == "cuda")


def test_probe_that_hangs_is_stopped_at_once(tmp_path: Path) -> None:
    engine = broken(tmp_path, "hangs")
    stop = Stop()
    timer = threading.Timer(0.5, stop.set)
    timer.start()
    started = time.monotonic()
    with pytest.raises(Stopped):
        engine.probe(tmp_path, stop)
    assert time.monotonic() - started < 3
    timer.join()
    stop.close()


def test_probe_has_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmafarm.engines.probe.PROBE_SECONDS", 0.5)
    assert "did not end within" in unavailable(broken(tmp_path, "hangs"), tmp_path).message


def test_program_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    error = unavailable(vmaf_engine(tmp_path / "gone"), tmp_path)
    assert f"cannot run {tmp_path / 'gone'}: No such file or directory" in error.message


def test_program_with_another_command_line_is_unavailable(tmp_path: Path) -> None:
    other = write_program(tmp_path / "vmaf", "echo unrecognized option >&2; exit 1\n")
    error = unavailable(vmaf_engine(other), tmp_path)
    assert "does not take the options of the command line of vmaf:\nunrecognized option" in error.message


@pytest.mark.parametrize(
    ("settings", "spelling"),
    [
        ({}, {"--backend", "--no_prediction"}),
        ({"backend_option": False}, {"--no_cuda", "--no_sycl", "--no_vulkan", "--no_prediction"}),
        ({"no_prediction_option": False}, {"--backend"}),
        (
            {"backend_option": False, "no_prediction_option": False},
            {"--no_cuda", "--no_sycl", "--no_vulkan"},
        ),
    ],
)
def test_older_builds_are_spoken_to_in_their_own_words(
    clip: Path, tmp_path: Path, settings: dict[str, bool], spelling: set[str]
) -> None:
    program = write_standin(tmp_path / "standin", **settings)  # type: ignore[arg-type]
    engine = vmaf_engine(program).probed(tmp_path)
    without_model = engine.one_pass(clip, "clip", "cpu", ["psnr"]).arguments
    options = {"--backend", "--no_prediction", "--no_cuda", "--no_sycl", "--no_vulkan"}
    assert set(without_model) & options == spelling
    expected = score(ffmpeg_engine(), clip, tmp_path).row
    assert_equal_rows(score(engine, clip, tmp_path).row, expected, 1e-9)


@pytest.mark.parametrize("how", ["usage_error", "no_no_prediction"])
def test_usage_error_of_an_older_build_is_learnt_from(tmp_path: Path, how: str) -> None:
    assert broken(tmp_path, how).probe(tmp_path).lacking == ()


@pytest.mark.parametrize(("how", "frame"), [("nan_everywhere", 0), ("drops_value", 1)])
@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_build_whose_values_are_null_is_refused_before_the_first_clip(
    tmp_path: Path, how: str, frame: int, backend: str
) -> None:
    error = unavailable(broken(tmp_path, how, backend), tmp_path)
    assert "cannot score a two-frame clip: " in error.message
    assert f" has no finite value on frame {frame} of 2" in error.message
