"""The stand-in misbehaves as requested, and in no other way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from standin.misbehaviour import MISBEHAVIOURS
from standin.vmaf import read_calls, write_standin
from support import media
from support.engine_helpers import write_program
from support.standin_calls import CPU, CUDA, MODEL, features, metrics, run, start

from vmafarm.process.descendants import Descendants, in_child
from vmafarm.process.process_limits import resident_bytes

Clips = Callable[[str], Path]


PROBLEM = "problem during vmaf_cuda_state_init"


@pytest.mark.parametrize(
    ("how", "arguments", "status", "message"),
    [
        ("cuda_init_exit_100", CUDA, 100, PROBLEM),
        ("no_models", MODEL, 255, "problem loading model: vmaf_v0.6.1"),
        ("no_models", (), 1, "At least one model (-m/--model) is required"),
        ("abort_without_output", (), -signal.SIGABRT, ""),
        ("exit_255", (), 255, "problem reading pictures"),
        ("flush_failure_234", (), 234, "problem flushing context"),
        ("log_not_written", (), 0, "could not open file"),
        ("enomem", (), 244, "Cannot allocate memory (-ENOMEM)"),
        ("usage_error", CPU, 1, "unrecognized option '--backend'"),
        ("no_no_prediction", ("--no_prediction",), 1, "unrecognized option '--no_prediction'"),
    ],
)
def test_misbehaving_build_leaves_no_log(
    tmp_path: Path, small_y4m: Path, how: str, arguments: tuple[str, ...], status: int, message: str
) -> None:
    found, errors, log = run(write_standin(tmp_path, misbehave=how), small_y4m, *arguments, *features("psnr"))
    assert (found, log) == (status, None)
    assert message in errors
    assert bool(message) == bool(errors)
    assert not (tmp_path / "log.json").exists()


def test_older_build_knows_the_other_ways_to_the_cpu(tmp_path: Path, small_y4m: Path) -> None:
    program = write_standin(tmp_path, misbehave="usage_error")
    assert run(program, small_y4m, "--no_cuda", "--no_sycl", "--no_vulkan")[0] == 0


def test_failed_cuda_start_that_falls_back_says_so_and_scores(tmp_path: Path, small_y4m: Path) -> None:
    program = write_standin(tmp_path, misbehave="cuda_init_falls_back")
    status, errors, log = run(program, small_y4m, *MODEL, *CUDA, *features("adm_cuda"))
    assert (status, errors) == (0, "problem during vmaf_cuda_state_init, using CPU\n")
    assert log["backend_used"] == "cpu"
    assert run(program, small_y4m, *MODEL, *CPU)[:2] == (0, "")


def test_build_that_lost_its_models_silently_has_no_vmaf(tmp_path: Path, small_y4m: Path) -> None:
    program = write_standin(tmp_path, misbehave="no_models_silently")
    assert list(metrics(run(program, small_y4m, *MODEL, *features("psnr"))[2])[0]) == [
        "psnr_y",
        "psnr_cb",
        "psnr_cr",
    ]


def test_wrong_constants_are_in_the_last_frame(tmp_path: Path, small_y4m: Path) -> None:
    def frames(how: str) -> list[dict[str, Any]]:
        program = write_standin(tmp_path, misbehave=how)
        return metrics(run(program, small_y4m, *MODEL, *features("psnr", "ciede", "float_ssim"))[2])

    sound, wrong = frames(""), frames("wrong_constant")
    assert wrong[:-1] == sound[:-1]
    different = {"psnr_y": 41.5, "ciede2000": 33.25, "float_ssim": 0.875}
    assert wrong[-1] == sound[-1] | different


def test_wrong_values_of_a_gpu_are_in_the_features_that_are_known_for_them(
    tmp_path: Path, small_y4m: Path
) -> None:
    def scores(how: str) -> list[dict[str, float | None]]:
        program = write_standin(tmp_path, misbehave=how, only_with="cuda")
        return metrics(run(program, small_y4m, *CUDA, *MODEL)[2])

    sound, middle = scores(""), 3
    for how, wrong, value in (
        ("drops_value", ["integer_vif_scale0"], None),
        ("zero_motion", ["integer_motion", "integer_motion2", "integer_motion3"], 0),
    ):
        for at, (frame, right) in enumerate(zip(scores(how), sound, strict=True)):
            changed = dict.fromkeys(wrong, value) if at == middle else {}
            assert frame == right | changed, (how, at)
    for frame, right in zip(scores("thousandth_apart"), sound, strict=True):
        for key, found in frame.items():
            apart = key in ("integer_adm2", "integer_vif_scale0")
            assert found == pytest.approx(right[key] + 0.001 * apart, abs=1e-12)  # type: ignore[operator]


def test_keys_of_other_builds(tmp_path: Path, small_y4m: Path) -> None:
    def keys(how: str) -> set[str]:
        program = write_standin(tmp_path, misbehave=how)
        return set(metrics(run(program, small_y4m, *CPU, "--no_prediction", *features(*asked))[2])[0])

    asked = ("adm",)
    sound = keys("")
    assert "adm2" not in sound
    assert keys("feature_twice") == {*sound, "adm2"}
    assert keys("other_key") == {*sound, "adm2"} - {"integer_adm2"}
    y4m_of_cambi = tmp_path / "cambi.y4m"
    media.run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=240x240", "-frames:v", "2", y4m_of_cambi)
    small_y4m, asked = y4m_of_cambi, ("cambi",)
    assert (keys(""), keys("key_with_options")) == ({"cambi"}, {"cambi_hrs_1080_wd_1920"})


def test_options_that_do_not_do_what_they_say(tmp_path: Path, small_y4m: Path) -> None:
    program = write_standin(tmp_path, misbehave="refuses_own_option")
    assert run(program, small_y4m, *features("psnr")) == (1, "problem setting the precision\n", None)
    assert "--precision" in subprocess.run([program], capture_output=True, text=True).stderr
    program = write_standin(tmp_path, misbehave="ignores_precision")
    run(program, small_y4m, *MODEL, *CPU)
    decimals = re.findall(r'"vmaf": \d+\.(\d+)', (tmp_path / "log.json").read_text())
    assert max(map(len, decimals)) == 6


def test_program_that_dies_midway_leaves_half_a_log(tmp_path: Path, small_y4m: Path) -> None:
    program = write_standin(tmp_path, misbehave="dies_midway")
    status, errors, log = run(program, small_y4m, *MODEL, *CUDA, *features("adm_cuda"))
    assert (status, log) == (255, None)
    assert errors == "CUDA error: unspecified launch failure\nproblem reading pictures\n"
    assert (tmp_path / "log.json").read_text().count('"frameNum"') == 3


def test_silent_fall_back_shows_in_the_log_alone(tmp_path: Path, small_y4m: Path) -> None:
    program = write_standin(tmp_path, misbehave="cuda_falls_back_silently")
    status, errors, log = run(program, small_y4m, *MODEL, *CUDA, *features("adm_cuda"))
    assert (status, errors, log["backend_used"]) == (0, "", "cpu")


def test_damaged_logs(tmp_path: Path, small_y4m: Path) -> None:
    def log_of(how: str) -> Any:
        status, _, log = run(
            write_standin(tmp_path, misbehave=how), small_y4m, *MODEL, *features("motion_v2")
        )
        assert status == 0
        return log

    sound = metrics(log_of(""))
    assert log_of("log_empty") is None
    assert (tmp_path / "log.json").read_bytes() == b""
    assert log_of("log_cut") is None
    assert (tmp_path / "log.json").read_text().startswith("{")
    assert metrics(log_of("log_short")) == sound[:-1]
    gaps = [
        set(whole) - set(frame)
        for whole, frame in zip(sound, metrics(log_of("log_missing_key")), strict=True)
    ]
    assert gaps == [set(), set(), set(), {"vmaf"}, set(), set()]
    assert {value for frame in metrics(log_of("nan_everywhere")) for value in frame.values()} == {None}


def test_keys_of_younger_builds_can_be_left_out(tmp_path: Path, small_y4m: Path) -> None:
    _, _, log = run(
        write_standin(tmp_path, omits=("integer_motion3",)), small_y4m, *CUDA, *features("motion_cuda")
    )
    assert {"integer_motion", "integer_motion2"} <= set(metrics(log)[0])
    assert "integer_motion3" not in metrics(log)[0]


def test_misbehaviour_is_confined_to_some_runs(tmp_path: Path, clips: Clips, small_y4m: Path) -> None:
    def statuses(count: int, *arguments: str, clip: Path = small_y4m) -> list[int]:
        return [run(program, clip, *arguments)[0] for _ in range(count)]

    program = write_standin(tmp_path / "1", misbehave="fails_first_time")
    assert statuses(3) == [255, 0, 0]
    program = write_standin(tmp_path / "2", misbehave="exit_255", after=1, times=2)
    assert statuses(4) == [0, 255, 255, 0]
    program = write_standin(tmp_path / "3", misbehave="exit_255", only_with="psnr", times=1)
    assert statuses(1) + statuses(2, *CUDA, *features("psnr_cuda")) == [0, 255, 0]
    program = write_standin(tmp_path / "4", misbehave="exit_255", spares_probe=True)
    probe = tmp_path / "probe.y4m"
    media.run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=240x240", "-frames:v", "2", "-pix_fmt", "yuv420p", probe
    )
    assert statuses(1, clip=probe) + statuses(1) == [0, 255]


def test_more_processes_than_fit_on_the_gpu_run_out_of_memory(tmp_path: Path, small_y4m: Path) -> None:
    program = write_standin(tmp_path, most_processes=2, misbehave="slow", seconds=1.0)
    processes = [start(program, small_y4m, *CUDA, log=tmp_path / f"{i}.json") for i in range(4)]
    results = [(process.communicate()[1], process.returncode) for process in processes]
    assert sorted(status for _, status in results) == [0, 0, 244, 244]
    assert [b"ENOMEM" in errors for errors, status in results if status] == [True, True]
    assert run(program, small_y4m, *CUDA)[0] == 0


def test_hanging_run_ends_on_sigterm_unless_it_ignores_that(tmp_path: Path, small_y4m: Path) -> None:
    started = {}
    for how in ("hangs", "ignores_sigterm"):
        program = write_standin(tmp_path / how, misbehave=how)
        started[how] = start(program, small_y4m, log=tmp_path / how / "log.json")
        while not read_calls(program):
            time.sleep(0.01)
    time.sleep(0.3)
    for process in started.values():
        process.terminate()
    assert started["hangs"].wait(timeout=10) == -signal.SIGTERM
    with pytest.raises(subprocess.TimeoutExpired):
        started["ignores_sigterm"].wait(timeout=0.3)
    started["ignores_sigterm"].kill()
    for process in started.values():
        process.communicate(timeout=10)


def test_child_that_keeps_the_pipe_dies_with_the_process_group(tmp_path: Path, small_y4m: Path) -> None:
    program = write_standin(tmp_path, misbehave="forks_child_keeping_pipe", seconds=30)
    process = start(program, small_y4m, log=tmp_path / "log.json", start_new_session=True)
    assert process.wait(timeout=30) == 0
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=0.3)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)


@pytest.mark.parametrize(
    ("how", "status"), [("leaves_grandchildren", 0), ("leaves_grandchildren_and_hangs", 255)]
)
def test_grandchildren_of_many_kinds_are_left(tmp_path: Path, small_y4m: Path, how: str, status: int) -> None:
    program = write_standin(tmp_path, misbehave=how, seconds=0.5)
    below = Descendants()
    process = start(program, small_y4m, log=tmp_path / "log.json", preexec_fn=in_child(below.calls()))
    assert process.wait(timeout=30) == status
    pids = [int(line) for line in (tmp_path / "pids").read_text().splitlines()]
    alive = [_is_alive(pid) for pid in pids]
    below.end()
    process.communicate(timeout=10)
    assert alive == [True] * 7


def test_flood_on_stderr_does_not_keep_it_from_scoring(tmp_path: Path, small_y4m: Path) -> None:
    status, errors, log = run(write_standin(tmp_path, misbehave="floods_stderr", megabytes=3), small_y4m)
    assert (status, len(log["frames"])) == (0, 6)
    assert 3_000_000 < len(errors) < 3_500_000


def test_an_endless_log_has_the_requested_size_and_exceeds_a_limit(tmp_path: Path, small_y4m: Path) -> None:
    program = write_standin(tmp_path, misbehave="log_without_end", megabytes=3)
    assert run(program, small_y4m, *CPU)[0] == 0
    assert (tmp_path / "log.json").stat().st_size > 3 << 20
    limited = write_program(tmp_path / "limited", f'ulimit -f 1024\nexec {program} "$@"\n')
    assert run(limited, small_y4m, *CPU)[0] == -signal.SIGXFSZ


@pytest.mark.parametrize("how", ["eats_memory", "child_eats_memory"])
def test_eaten_memory_is_kept(tmp_path: Path, small_y4m: Path, how: str) -> None:
    program = write_standin(tmp_path, misbehave=how, megabytes=200, seconds=60)
    process = start(program, small_y4m, *CPU, log=tmp_path / "log.json", start_new_session=True)
    until = time.monotonic() + 30
    while resident_bytes(process.pid) < 200 << 20:
        assert time.monotonic() < until
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_killing_it_kills_the_ffmpeg_it_started(standin: Path, clips: Clips, tmp_path: Path) -> None:
    y4m = media.as_y4m(clips("bigbuckbunny_12.mp4"), tmp_path / "clip.y4m")  # ciede takes seconds for these
    process = start(standin, y4m, *features("ciede"), log=tmp_path / "log.json")
    while not (children := _children(process.pid)):
        time.sleep(0.02)
    time.sleep(0.5)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 0.5
    while _is_alive(children[0]) and time.monotonic() < deadline:
        time.sleep(0.02)
    still_alive = _is_alive(children[0])
    process.communicate()  # ends when nothing holds the pipe any more
    assert not still_alive


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_every_misbehaviour_has_a_test() -> None:
    text = Path(__file__).read_text()
    assert [name for name in MISBEHAVIOURS if f'"{name}"' not in text] == []
    with pytest.raises(ValueError, match="expected one of"):
        write_standin(Path("unused"), misbehave="typo")
