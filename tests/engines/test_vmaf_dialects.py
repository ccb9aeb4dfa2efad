"""The engine ``vmaf`` scores with each dialect of its program: commands follow from what the probe found."""

from __future__ import annotations

import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from standin.dialects import DIALECTS
from standin.vmaf import read_calls, write_standin
from support.engine_helpers import (
    assert_equal_rows,
    failure,
    ffmpeg_engine,
    score,
    unavailable,
    vmaf_engine,
    write_program,
)
from support.errors_document import documented

from vmafarm.engines.vmaf import VmafEngine
from vmafarm.run_folder.planned_clips import Manifest
from vmafarm.schema.features import EXTRACTORS
from vmafarm.scoring.origin import provenance_of

NAMES = {"may": "the fork as of May 2026", "today": "the fork", "upstream": "upstream"}
ON_CPU = {
    "may": ["--backend", "cpu"],
    "today": ["--backend", "cpu"],
    "upstream": ["--gpumask", "4294967295"],
}


def dialect_engine(
    folder: Path, dialect: str, plan: str = "identity", backend: str = "cpu", **settings: Any
) -> VmafEngine:
    return vmaf_engine(write_standin(folder / dialect, dialect=dialect, **settings), plan, backend)


def words(arguments: list[str]) -> list[str]:
    """What a command says of model, backend and digits: neither names of files nor extractors."""
    skipped = {"--reference", "--distorted", "--feature", "--threads", "--output"}
    pairs = zip(["", *arguments[1:]], arguments[1:], strict=False)
    return [word for before, word in pairs if word not in skipped and before not in skipped]


# The probe, and the commands that follow from it


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_dialect_is_found_by_what_it_does_and_gives_the_same_row(
    tmp_path: Path, clip: Path, dialect: str
) -> None:
    engine = dialect_engine(tmp_path, dialect, version="of no meaning").probed(tmp_path)
    found = engine.capabilities
    assert found.dialect == NAMES[dialect]
    assert found.decimals == (6 if dialect == "upstream" else 0)
    assert (found.version, found.lacking) == ("of no meaning", ())
    (one,) = engine.passes(clip, "x")
    precision = [] if dialect == "upstream" else ["--precision", "max"]
    model = ["--model", "version=vmaf_v0.6.1"]
    assert words(one.arguments) == [*model, *ON_CPU[dialect], *precision, "--json", "-q"]
    without_model = words(engine.one_pass(clip, "x", "cpu", ["cambi"]).arguments)
    assert without_model == ["--no_prediction", *ON_CPU[dialect], *precision, "--json", "-q"]
    row = score(engine, clip, tmp_path).row
    assert_equal_rows(row, score(ffmpeg_engine(), clip, tmp_path).row, 1e-6)


def test_upstream_lacks_two_extractors_of_the_full_plan_and_no_column(tmp_path: Path, clip: Path) -> None:
    engine = dialect_engine(tmp_path, "upstream", "full").probed(tmp_path)
    assert engine.capabilities.lacking == ("motion_v2", "ssimulacra2")
    assert engine.constant() == ("ssimulacra2",)
    row, expected = score(engine, clip, tmp_path).row, score(ffmpeg_engine("full"), clip, tmp_path).row
    assert_equal_rows(row, expected, 1e-6)


@pytest.mark.parametrize(("dialect", "passes"), [("may", 2), ("today", 1)])
def test_one_pass_does_where_every_extractor_has_a_cuda_version(
    tmp_path: Path, clip: Path, dialect: str, passes: int
) -> None:
    engine = dialect_engine(tmp_path, dialect, "full", "cuda").probed(tmp_path)
    before = len(read_calls(engine.vmaf))
    row = score(engine, clip, tmp_path).row
    calls = [call["arguments"] for call in read_calls(engine.vmaf)[before:]]
    assert len(calls) == passes
    on_cuda = [one for one in calls if "cuda" in one]
    assert len(on_cuda) == 1
    named = {b for a, b in pairwise(on_cuda[0]) if a == "--feature"}
    refused = {"float_ms_ssim"}
    without = {"float_ssim", "cambi", "ssimulacra2"} if dialect == "may" else set()
    assert named == {f"{name}_cuda" for name in set(EXTRACTORS) - refused - without}
    assert_equal_rows(row, score(ffmpeg_engine("full"), clip, tmp_path).row, 1e-6)


def test_extractor_whose_cuda_version_is_missing_runs_in_a_second_pass(tmp_path: Path) -> None:
    engine = dialect_engine(tmp_path, "today", "full", "cuda", lacks=["cambi_cuda", "ciede_cuda"])
    engine = engine.probed(tmp_path)
    assert engine.capabilities.without_cuda == {"cambi", "ciede"}
    _, on_cpu = engine.passes(tmp_path / "x.y4m", "x")
    assert set(on_cpu.extractors) == {"cambi", "ciede"}
    assert "--no_prediction" in on_cpu.arguments


def test_build_that_does_not_name_the_extractor_that_it_lacks_is_asked_for_each(tmp_path: Path) -> None:
    program = write_standin(tmp_path / "standin", dialect="today", lacks=["cambi_cuda"])
    script = (
        f'{shlex.quote(str(program))} "$@" 2>messages; s=$?; sed "s/extractor: .*/extractor/" messages >&2\n'
    )
    engine = vmaf_engine(write_program(tmp_path / "vmaf", f"{script}exit $s\n"), backend="cuda")
    found = engine.probed(tmp_path).capabilities
    assert (found.without_cuda, found.lacking) == ({"cambi"}, ())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_build_without_a_usage_text_is_asked_for_each_option(
    tmp_path: Path, clip: Path, dialect: str
) -> None:
    program = write_standin(tmp_path / "standin", dialect=dialect)
    quiet = f'exec {shlex.quote(str(program))} "$@" 2>/dev/null\n'
    engine = vmaf_engine(write_program(tmp_path / "vmaf", quiet)).probed(tmp_path)
    assert engine.capabilities.dialect == NAMES[dialect]
    (one,) = engine.passes(clip, "x")
    assert words(one.arguments)[2:4] == ON_CPU[dialect]


def test_upstream_with_cuda_is_kept_on_the_cpu(tmp_path: Path, clip: Path) -> None:
    # Wherever this build starts CUDA it says that it fails, and every value is wrong.
    engine = dialect_engine(
        tmp_path, "upstream", cuda_by_default=True, misbehave="cuda_init_falls_back"
    ).probed(tmp_path)
    row = score(engine, clip, tmp_path).row
    assert_equal_rows(row, score(ffmpeg_engine(), clip, tmp_path).row, 1e-6)


def test_cuda_of_upstream_is_refused_because_nothing_tells_where_it_ran(tmp_path: Path) -> None:
    documented("CUDA of a program that does not say where it ran")
    engine = dialect_engine(tmp_path, "upstream", backend="cuda", cuda_by_default=True)
    error = unavailable(engine, tmp_path)
    assert error.message == (
        f'engine.backend = "cuda", but {engine.vmaf} has neither --backend nor --no_cuda, as upstream\'s: '
        "where CUDA fails it goes on on the CPU, and it does not say where it ran"
    )
    assert error.hint == 'set engine.backend = "cpu", or engine.vmaf to the fork\'s program'


# Digits


@pytest.mark.parametrize("dialect", DIALECTS)
def test_provenance_states_decimals_where_values_are_rounded_and_nothing_else(
    tmp_path: Path, dialect: str
) -> None:
    engine = dialect_engine(tmp_path, dialect).probed(tmp_path)
    nothing = np.array([])
    manifest = Manifest([], nothing, nothing, nothing, "sha256:00")
    document = provenance_of(engine, manifest).as_dict()
    assert document.get("decimals") == (6 if dialect == "upstream" else None)
    assert set(document) - {"decimals"} == {
        *("backend", "decoder_version", "engine", "engine_version", "features", "libvmaf_version"),
        *("manifest", "model", "plan", "schema_version"),
    }


# Builds that do not do what they say


@pytest.mark.parametrize("dialect", ["may", "today"])
def test_option_that_is_listed_and_fails_is_named_in_one_message(tmp_path: Path, dialect: str) -> None:
    documented("an engine that fails on an option that it lists")
    engine = dialect_engine(tmp_path, dialect, misbehave="refuses_own_option")
    error = unavailable(engine, tmp_path)
    assert error.message == (
        f"{engine.vmaf} lists --precision among its options, but fails on --precision: "
        "exit status 1: problem setting the precision"
    )


def test_build_that_rounds_in_spite_of_its_option_is_refused(tmp_path: Path) -> None:
    error = unavailable(dialect_engine(tmp_path, "today", misbehave="ignores_precision"), tmp_path)
    assert "takes --precision max, but writes 6 decimals all the same" in error.message


def test_failure_that_passes_is_not_taken_for_that_of_an_option(tmp_path: Path) -> None:
    engine = dialect_engine(tmp_path, "today", misbehave="exit_255", times=1)
    assert engine.probed(tmp_path).capabilities.dialect == "the fork"


# Keys


KEYS = [
    ("feature_twice", "adm2 is in the log under two keys: adm2, integer_adm2"),
    (
        "key_with_options",
        "cambi is in the log as cambi_hrs_1080_wd_1920, with options that were not asked for, expected cambi",
    ),
]


@pytest.mark.parametrize(("how", "words"), KEYS)
def test_feature_under_two_keys_or_with_options_is_refused_by_the_probe_and_for_a_clip(
    tmp_path: Path, clip: Path, how: str, words: str
) -> None:
    engine = dialect_engine(tmp_path, "today", misbehave=how)
    assert f"cannot score a two-frame clip: {words}" in unavailable(engine, tmp_path).message
    error = failure(engine, clip, tmp_path)
    assert (error.failure, error.message) == ("bad_log", f"{words} (160x240, 6 frames)")


def test_key_other_than_in_the_probe_is_refused(tmp_path: Path, clip: Path) -> None:
    engine = dialect_engine(tmp_path, "today", misbehave="other_key", spares_probe=True)
    assert score(engine, clip, tmp_path).frames == 6, "either key is known"
    error = failure(engine.probed(tmp_path), clip, tmp_path)
    assert error.failure == "bad_log"
    assert "adm2 is in the log as adm2, expected integer_adm2 as in the log of two frames" in error.message


# A GPU that dies


@pytest.mark.parametrize(("dialect", "status"), [("may", 255), ("today", 1)])
def test_cuda_that_dies_within_a_clip_is_the_engines_fault_and_the_next_attempt_scores(
    tmp_path: Path, clip: Path, dialect: str, status: int
) -> None:
    engine = dialect_engine(
        tmp_path,
        dialect,
        backend="cuda",
        misbehave="dies_midway",
        only_with="cuda",
        spares_probe=True,
        times=1,
    ).probed(tmp_path)
    error = failure(engine, clip, tmp_path)
    assert error.failure == "engine_error"
    ran = "adm, vif, motion, vmaf_v0.6.1" if dialect == "may" else "adm, vif, motion, cambi, vmaf_v0.6.1"
    assert error.message == (
        f"vmaf: exit status {status}: problem reading pictures (160x240, 6 frames, running {ran})"
    )
    assert error.stderr[0] == "CUDA error: unspecified launch failure"
    row = score(engine, clip, tmp_path).row
    assert_equal_rows(row, score(ffmpeg_engine(), clip, tmp_path).row, 1e-9)


def test_log_that_cuda_left_cut_says_how_many_frames_are_in_it(tmp_path: Path, clip: Path) -> None:
    engine = dialect_engine(tmp_path, "today", backend="cuda", misbehave="log_cut", only_with="cuda")
    error = failure(engine, clip, tmp_path)
    assert error.failure == "bad_log"
    assert error.message.startswith("the log is cut or not JSON: ")
    assert error.message.endswith("; it has 6 frames (160x240, 6 frames)")


@pytest.mark.parametrize(
    ("how", "failed", "words"),
    [
        ("exit_255", "engine_error", "vmaf: exit status 1: problem reading pictures"),
        ("flush_failure_234", "engine_error", "vmaf: exit status 1: problem flushing context"),
        ("enomem", "out_of_memory", "the engine could not allocate memory"),
        ("cuda_init_exit_100", "engine_error", "CUDA could not be initialised (vmaf_cuda_state_init)"),
        ("cuda_falls_back_silently", "engine_error", "asked for CUDA, but the engine ran on cpu"),
    ],
)
def test_status_1_for_every_error_changes_no_class_of_failure(
    tmp_path: Path, clip: Path, how: str, failed: str, words: str
) -> None:
    error = failure(dialect_engine(tmp_path, "today", backend="cuda", misbehave=how), clip, tmp_path)
    assert error.failure == failed
    assert error.message.startswith(words)
