"""The stand-in speaks the three dialects of the program ``vmaf`` as their documents describe them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from standin.dialects import DIALECTS
from standin.vmaf import write_standin
from support.standin_calls import CPU, CUDA, MODEL, features, metrics, plain_run, run

from vmafarm.schema.features import EXTRACTORS

FORKS = ("may", "today")
CPU_BY_MASK = ("--gpumask", "4294967295")


def program(folder: Path, dialect: str, **settings: object) -> Path:
    return write_standin(folder / dialect, dialect=dialect, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dialect", "options"),
    [
        ("may", "--backend=cpu --precision=max --no_cuda --no_sycl --no_vulkan --no_prediction"),
        ("today", "--backend=cpu --precision=17 --no_cuda --no_sycl --no_hip --no_metal --no_prediction"),
        ("upstream", "--gpumask=4294967295 --cpumask=0 --subsample=1 --frame_cnt=9 --no_prediction"),
    ],
)
def test_each_dialect_takes_its_own_options_lists_them_and_no_others(
    tmp_path: Path, small_y4m: Path, dialect: str, options: str
) -> None:
    status, errors, log = plain_run(
        program(tmp_path, dialect), small_y4m, *options.split(), *features("psnr")
    )
    assert (status, errors, len(log["frames"])) == (0, "", 6)
    usage = subprocess.run([tmp_path / dialect / "vmaf"], capture_output=True, text=True)
    assert usage.returncode == 1
    listed = set(re.findall(r"--\w+", usage.stderr))
    assert {option.partition("=")[0] for option in options.split()} <= listed
    every = {f"--{name}" for d in DIALECTS.values() for name in (*d.with_value, *d.flags)}
    for option in sorted(every - listed):
        status, errors, _ = plain_run(tmp_path / dialect / "vmaf", small_y4m, option)
        assert (status, errors.splitlines()[0]) == (1, f"unrecognized option '{option}'")
    assert every - listed


def test_help_is_an_option_of_today_only(tmp_path: Path) -> None:
    for dialect, status in (("may", 1), ("today", 0), ("upstream", 1)):
        done = subprocess.run([program(tmp_path, dialect), "--help"], capture_output=True, text=True)
        assert done.returncode == status
        assert "--reference" in (done.stderr if status else done.stdout)


@pytest.mark.parametrize(
    ("dialect", "default", "lossless"), [("may", 6, True), ("today", 6, True), ("upstream", 6, False)]
)
def test_values_have_six_decimals_unless_all_are_asked_for(
    tmp_path: Path, small_y4m: Path, dialect: str, default: int, lossless: bool
) -> None:
    def decimals(*arguments: str) -> int:
        log = tmp_path / dialect / "log.json"
        status, _, _ = plain_run(program(tmp_path, dialect), small_y4m, *MODEL, *arguments)
        assert status == (0 if lossless or not arguments else 1)
        return max(map(len, re.findall(r'"vmaf": \d+\.(\d+)', log.read_text())), default=0)

    assert decimals() == default
    if lossless:
        assert decimals("--precision", "max") > 9
        assert decimals("--precision", "legacy") == 6


@pytest.mark.parametrize("dialect", DIALECTS)
def test_extractors_and_cuda_twins_of_each_dialect(tmp_path: Path, small_y4m: Path, dialect: str) -> None:
    def loads(name: str, *backend: str) -> bool:
        arguments = (*backend, "--no_prediction", *features(name))
        return "problem loading feature extractor" not in plain_run(vmaf, small_y4m, *arguments)[1]

    vmaf = program(tmp_path, dialect, misbehave="flush_failure_234")  # nothing need be scored
    lacks = {"motion_v2", "ssimulacra2"} if dialect == "upstream" else set()
    assert {name for name in EXTRACTORS if not loads(name)} == lacks
    twins = {name for name in EXTRACTORS if loads(f"{name}_cuda", *(CUDA if dialect in FORKS else ()))}
    without = {"float_ssim", "cambi", "ssimulacra2"}
    assert twins == {"may": set(EXTRACTORS) - without, "today": set(EXTRACTORS), "upstream": set()}[dialect]
    assert not loads("adm_cuda", *(CPU if dialect in FORKS else CPU_BY_MASK))


@pytest.mark.parametrize(
    ("how", "arguments", "statuses"),
    [
        ("exit_255", (), (255, 1, 255)),
        ("flush_failure_234", (), (234, 1, 234)),
        ("enomem", (), (244, 1, 244)),
        ("no_models", MODEL, (255, 1, 255)),
        ("dies_midway", (), (255, 1, 255)),
    ],
)
def test_exit_statuses_of_each_dialect(
    tmp_path: Path, small_y4m: Path, how: str, arguments: tuple[str, ...], statuses: tuple[int, ...]
) -> None:
    for dialect, status in zip(DIALECTS, statuses, strict=True):
        vmaf = program(tmp_path, dialect, misbehave=how)
        assert plain_run(vmaf, small_y4m, *arguments, *features("psnr"))[0] == status


def test_a_video_without_frames_is_status_101_today(tmp_path: Path) -> None:
    empty = tmp_path / "empty.y4m"
    empty.write_bytes(b"YUV4MPEG2 W100 H100 F25:1 Ip C420jpeg\n")
    for dialect, status in (("may", 255), ("today", 101), ("upstream", 255)):
        assert plain_run(program(tmp_path, dialect), empty, *MODEL)[0] == status


def test_the_default_model_is_another_one_today(tmp_path: Path, small_y4m: Path) -> None:
    def first(dialect: str, *arguments: str) -> float | None:
        return metrics(plain_run(program(tmp_path, dialect), small_y4m, *arguments)[2])[0]["vmaf"]

    named = first("may", *MODEL)
    assert {first(dialect, *MODEL) for dialect in DIALECTS} == {named}
    assert first("may") == first("upstream") == named
    assert first("today") != named


def test_upstream_runs_on_cuda_unless_the_mask_turns_it_off_and_never_says_so(
    tmp_path: Path, small_y4m: Path
) -> None:
    vmaf = program(tmp_path, "upstream", cuda_by_default=True, misbehave="cuda_init_falls_back")
    status, errors, log = plain_run(vmaf, small_y4m, *MODEL)
    assert (status, errors) == (0, "problem during vmaf_cuda_state_init, using CPU\n")
    assert "backend_used" not in log
    assert plain_run(vmaf, small_y4m, *MODEL, *CPU_BY_MASK)[:2] == (0, "")


def test_both_forks_say_where_they_ran(tmp_path: Path, small_y4m: Path) -> None:
    for dialect in FORKS:
        _, _, log = run(program(tmp_path, dialect), small_y4m, *MODEL, *CUDA, *features("adm_cuda"))
        assert log["backend_used"] == "cuda"
