"""The stand-in for the ``vmaf`` program computes what libvmaf does, and fails in the ways it is told to."""

from __future__ import annotations

import json
import os
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
from support.processes import children_of, is_alive

from vmafarm.process.descendants import Descendants, in_child
from vmafarm.process.process_limits import resident_bytes
from vmafarm.schema.features import BY_NAME, EXTRACTORS, FEATURES

Clips = Callable[[str], Path]
MODEL = ("--model", "version=vmaf_v0.6.1")
CPU = ("--backend", "cpu")
CUDA = ("--backend", "cuda")
ON_GPU = ("adm", "vif", "motion", "motion_v2", "psnr", "ciede", "float_ms_ssim", "psnr_hvs")
WITHOUT_CIEDE = tuple(name for name in EXTRACTORS if name != "ciede")


def features(*names: str) -> list[str]:
    return [word for name in names for word in ("--feature", name)]


def start(program: Path, clip: Path, *arguments: str, log: Path, **options: Any) -> subprocess.Popen[bytes]:
    pair = ("--reference", str(clip), "--distorted", str(clip))
    rest = ("--threads", "2", "--precision", "max", "--json", "--output", str(log), "-q")
    return subprocess.Popen([str(program), *pair, *arguments, *rest], stderr=subprocess.PIPE, **options)


def run(program: Path, clip: Path, *arguments: str) -> tuple[int, str, Any]:
    """Exit status, stderr, and the log (None where it is missing or is no JSON)."""
    log = program.parent / "log.json"
    log.unlink(missing_ok=True)
    process = start(program, clip, *arguments, log=log)
    _, errors = process.communicate(timeout=60)
    try:
        content = json.loads(log.read_text())
    except (OSError, ValueError, RecursionError):
        content = None
    return process.returncode, errors.decode(), content


def metrics(log: Any) -> list[dict[str, float | None]]:
    return [frame["metrics"] for frame in log["frames"]]


def by_feature(frame: dict[str, float | None]) -> dict[str, float | None]:
    found = {f.name: next((frame[key] for key in f.keys if key in frame), "absent") for f in FEATURES}
    return {name: value for name, value in found.items() if value != "absent"}


def plain_libvmaf(y4m: Path, log: Path, *names: str) -> list[dict[str, float | None]]:
    """The embedded filter on the same frames, by the command line that its documentation gives."""
    asked = "|".join(f"name={name}" for name in names)
    graph = f"[0:v]split[a][b];[a][b]libvmaf=feature='{asked}':log_fmt=json:log_path={log.name}:n_threads=2"
    command = [media.FFMPEG, "-v", "error", "-nostdin", "-i", str(y4m), "-lavfi", graph, "-f", "null", "-"]
    subprocess.run(command, check=True, cwd=log.parent)
    return metrics(json.loads(log.read_text()))


@pytest.fixture
def y4m(clips: Clips, tmp_path: Path) -> Path:
    """Five frames of 480x270."""
    path = tmp_path / "five.y4m"
    media.run_ffmpeg("-i", clips("plain.mp4"), "-frames:v", "5", "-f", "yuv4mpegpipe", path)
    return path


@pytest.fixture(scope="session")
def small_y4m(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of 100x100."""
    return media.as_y4m(clips("100x100.mkv"), tmp_path_factory.mktemp("small") / "small.y4m")


@pytest.mark.parametrize(("clip", "pix_fmt"), [("bikes_12.mp4", "yuv420p"), ("ten_bit.mp4", "yuv420p10le")])
def test_scores_are_those_of_plain_libvmaf_to_the_last_digit(
    standin: Path, clips: Clips, tmp_path: Path, clip: str, pix_fmt: str
) -> None:
    # The filter itself prints most scores with six decimals, so equal means equal to 1e-6 of the exact score;
    # what the stand-in adds, %.17g, loses nothing of what the filter printed.
    names = ("psnr", "float_ssim", "cambi", "psnr_hvs")
    frames = media.as_y4m(clips(clip), tmp_path / "clip.y4m", pix_fmt)
    expected = plain_libvmaf(frames, tmp_path / "plain.json", *names)

    status, errors, log = run(standin, frames, *MODEL, *CPU, *features("adm", "vif", "motion", *names))

    assert (status, errors) == (0, "")
    assert metrics(log) == expected
    assert log["backend_used"] == "cpu"
    assert list(log["pooled_metrics"]["vmaf"]) == ["min", "max", "mean", "harmonic_mean"]


def test_raw_frames_with_their_geometry_score_as_the_y4m_does(
    standin: Path, clips: Clips, tmp_path: Path
) -> None:
    y4m = media.as_y4m(clips("ten_bit.mp4"), tmp_path / "clip.y4m", "yuv420p10le")
    yuv = tmp_path / "clip.yuv"
    yuv.write_bytes(media.decode(clips("ten_bit.mp4"), "yuv420p10le"))
    geometry = ("--width", "480", "--height=270", "--pixel_format", "420", "--bitdepth", "10")

    from_y4m = run(standin, y4m, *MODEL, *features("psnr"))
    from_yuv = run(standin, yuv, *geometry, *MODEL, *features("psnr"))

    assert from_yuv == from_y4m
    assert metrics(from_yuv[2])[0]["psnr_y"] == 72


def test_one_pass_on_the_cpu_equals_two_passes_on_cuda_merged(standin: Path, y4m: Path) -> None:
    one = run(standin, y4m, *MODEL, *CPU, *features(*EXTRACTORS))
    gpu = run(standin, y4m, *MODEL, *CUDA, *features(*(f"{name}_cuda" for name in ON_GPU)))
    rest = ("float_ssim", "cambi", "ssimulacra2")
    cpu = run(standin, y4m, *CPU, "--no_prediction", *features(*rest))

    assert [result[0] for result in (one, gpu, cpu)] == [0, 0, 0]
    assert (gpu[2]["backend_used"], cpu[2]["backend_used"]) == ("cuda", "cpu")
    assert list(metrics(cpu[2])[0]) == list(rest)
    assert "integer_motion" in metrics(gpu[2])[0]
    merged = [by_feature({**a, **b}) for a, b in zip(metrics(gpu[2]), metrics(cpu[2]), strict=True)]
    assert merged == [by_feature(frame) for frame in metrics(one[2])]
    assert set(merged[0]) == set(BY_NAME)
    assert merged[0]["ssimulacra2"] == 100
    assert merged[0]["ciede2000"] is None


def test_two_different_videos_are_told_apart(standin: Path, clips: Clips, tmp_path: Path) -> None:
    reference = media.as_y4m(clips("two_frames.mp4"), tmp_path / "reference.y4m")
    distorted = tmp_path / "distorted.y4m"
    media.run_ffmpeg("-i", reference, "-vf", "noise=alls=20:all_seed=1", distorted)
    named = [standin, "--no_prediction", *features("psnr", "vif", "ssimulacra2"), "--json", "--threads", "1"]
    log = tmp_path / "log.json"
    graph = "[0:v][1:v]libvmaf=feature=name=psnr:log_fmt=json:log_path=plain.json"
    command = [
        media.FFMPEG,
        "-v",
        "error",
        "-i",
        distorted,
        "-i",
        reference,
        "-lavfi",
        graph,
        "-f",
        "null",
        "-",
    ]
    subprocess.run(command, check=True, cwd=tmp_path)

    subprocess.run([*named, "-r", reference, "-d", distorted, "-o", log], check=True)

    expected = metrics(json.loads((tmp_path / "plain.json").read_text()))
    found = metrics(json.loads(log.read_text()))
    for key in ("psnr_y", "integer_vif_scale0"):  # the second one is not symmetrical
        assert [f[key] for f in found] == [f[key] for f in expected]
    assert all(20 < f["psnr_y"] < 40 and f["ssimulacra2"] < 60 for f in found)


def test_pipes_do_as_well_as_files(standin: Path, y4m: Path, tmp_path: Path) -> None:
    pipes = [tmp_path / "reference", tmp_path / "distorted"]
    for pipe in pipes:
        os.mkfifo(pipe)
    writers = [subprocess.Popen(["cp", y4m, pipe]) for pipe in pipes]
    log = tmp_path / "log.json"
    arguments = ["-r", pipes[0], "-d", pipes[1], *features("psnr"), "--json", "-o", log, "--precision=max"]

    subprocess.run([standin, *arguments], check=True, timeout=60)

    assert [writer.wait() for writer in writers] == [0, 0]
    assert metrics(json.loads(log.read_text())) == metrics(run(standin, y4m, *features("psnr"))[2])


def test_only_what_was_asked_for_is_in_the_log(standin: Path, small_y4m: Path) -> None:
    _, _, log = run(standin, small_y4m, "--no_prediction", *features("motion_v2"))
    assert sorted(metrics(log)[0]) == [
        "VMAF_integer_feature_motion2_v2_score",
        "VMAF_integer_feature_motion_v2_sad_score",
    ]
    _, _, log = run(standin, small_y4m, *MODEL, "--no_prediction", *features("psnr"))
    assert "integer_adm2" in metrics(log)[0]
    assert "vmaf" not in metrics(log)[0]


@pytest.mark.parametrize("default_model", [True, False])
def test_default_model_is_loaded_unless_the_build_or_no_prediction_says_otherwise(
    tmp_path: Path, small_y4m: Path, default_model: bool
) -> None:
    program = write_standin(tmp_path / "standin", default_model=default_model)

    _, _, log = run(program, small_y4m, *features("psnr"))
    assert ("vmaf" in metrics(log)[0]) is default_model
    _, _, log = run(program, small_y4m, "--no_prediction", *features("psnr"))
    assert sorted(metrics(log)[0]) == ["psnr_cb", "psnr_cr", "psnr_y"]


@pytest.mark.parametrize(
    ("clip", "lost"),
    [
        ("160x120.mkv", {"float_ms_ssim", "cambi", "ssimulacra2", "psnr_hvs"}),
        ("160x240.mkv", {"float_ms_ssim", "cambi", "ssimulacra2", "psnr_hvs"}),
        ("carphone_12.mp4", {"float_ms_ssim", "cambi", "ssimulacra2", "psnr_hvs"}),
        ("240x240.mkv", set()),
    ],
)
def test_refusing_extractor_takes_those_named_after_it_along(
    standin: Path, clips: Clips, tmp_path: Path, clip: str, lost: set[str]
) -> None:
    y4m = media.as_y4m(clips(clip), tmp_path / "clip.y4m")

    status, _, log = run(standin, y4m, *MODEL, *features(*WITHOUT_CIEDE))

    assert status == 0
    assert set(BY_NAME) - set(by_feature(metrics(log)[-1])) == lost | {"ciede2000"}


def test_extractors_named_before_the_refusing_one_are_kept(standin: Path, small_y4m: Path) -> None:
    status, _, log = run(
        standin, small_y4m, "--no_prediction", *features("ssimulacra2", "cambi", "psnr", "vif")
    )
    assert status == 0
    assert [list(frame) for frame in metrics(log)] == [["ssimulacra2"]] * 6


def test_without_threads_a_refusal_is_a_flush_failure(standin: Path, small_y4m: Path, tmp_path: Path) -> None:
    # Measured on the embedded libvmaf: only its thread pool passes over an extractor's error.
    pair = ("-r", str(small_y4m), "-d", str(small_y4m), "-o", str(tmp_path / "log.json"))
    result = subprocess.run([standin, *pair, *features("cambi")], stderr=subprocess.PIPE)
    assert result.returncode == 234
    assert b"problem flushing context" in result.stderr
    assert not (tmp_path / "log.json").exists()


def test_frames_too_small_for_libvmaf_crash_it(standin: Path, clips: Clips, tmp_path: Path) -> None:
    status, _, log = run(standin, media.as_y4m(clips("16x16.mkv"), tmp_path / "clip.y4m"), *MODEL)
    assert (status, log) == (-signal.SIGSEGV, None)
    status, _, log = run(standin, media.as_y4m(clips("18x18.mkv"), tmp_path / "clip.y4m"), *MODEL)
    assert (status, len(log["frames"])) == (0, 6)


@pytest.mark.parametrize("kind", ["y4m", "yuv"])
def test_cut_input_scores_the_complete_frames(standin: Path, y4m: Path, tmp_path: Path, kind: str) -> None:
    content = y4m.read_bytes() if kind == "y4m" else media.decode(y4m)
    cut = tmp_path / f"cut.{kind}"
    cut.write_bytes(content[:-1000])
    geometry = ("-w", "480", "-h", "270", "-p", "420", "-b", "8") if kind == "yuv" else ()
    status, errors, log = run(standin, cut, *geometry, *MODEL)
    assert (status, errors, [f["frameNum"] for f in log["frames"]]) == (0, "", [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--version"], 0, "9.9-test"),
        ([], 1, "Reference .y4m or .yuv (-r/--reference) is required"),
        (["--reference", "a.y4m"], 1, "Distorted .y4m or .yuv (-d/--distorted) is required"),
        (["--gpu", "0"], 1, "unrecognized option '--gpu'"),
        (["--reference"], 1, "requires an argument"),
        (["--backend", "tpu", "-r", "a", "-d", "a"], 1, "Unknown --backend value 'tpu'"),
        (["-r", "a", "-d", "a", "--width", "16"], 1, "required for .yuv input"),
        (["-r", "nowhere.y4m", "-d", "nowhere.y4m"], 255, "could not open file: nowhere.y4m"),
        (["-r", __file__, "-d", __file__], 255, "problem with reference file"),
    ],
)
def test_wrong_command_line_is_refused(
    tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    program = write_standin(tmp_path / "a folder with 'quotes'", version="9.9-test")
    result = subprocess.run([program, *arguments], capture_output=True, text=True)
    assert result.returncode == status
    assert message in result.stderr
    assert ("Usage:" in result.stderr) == (status == 1)
    assert read_calls(program)[0]["arguments"] == arguments


@pytest.mark.parametrize(
    "arguments", [features("nonsense"), [*CPU, *features("adm_cuda")], features("cambi")]
)
def test_extractor_that_is_not_there_ends_it_with_255(
    tmp_path: Path, small_y4m: Path, arguments: list[str]
) -> None:
    program = write_standin(tmp_path, lacks=("cambi",))
    assert run(program, small_y4m, *arguments) == (
        255,
        f"problem loading feature extractor: {arguments[-1]}\n",
        None,
    )


def test_unknown_option_is_passed_over_by_builds_that_do_so(tmp_path: Path, small_y4m: Path) -> None:
    program = write_standin(tmp_path, backend_option=False, unknown_options="ignored", backend_used=False)
    status, errors, log = run(program, small_y4m, *CUDA, *features("psnr"))
    assert (status, len(log["frames"])) == (0, 6)
    assert "unrecognized option '--backend'" in errors
    assert "backend_used" not in log


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
    alive = [is_alive(pid) for pid in pids]
    below.end()
    process.communicate(timeout=10)
    assert alive == [True] * 7


def test_flood_on_stderr_does_not_keep_it_from_scoring(tmp_path: Path, small_y4m: Path) -> None:
    status, errors, log = run(write_standin(tmp_path, misbehave="floods_stderr", megabytes=3), small_y4m)
    assert (status, len(log["frames"])) == (0, 6)
    assert 3_000_000 < len(errors) < 3_500_000


def test_log_without_end_is_as_long_as_told_and_dies_of_a_limit(tmp_path: Path, small_y4m: Path) -> None:
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
    while not (children := sorted(children_of(process.pid))):
        time.sleep(0.02)
    time.sleep(0.5)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 0.5
    while is_alive(children[0]) and time.monotonic() < deadline:
        time.sleep(0.02)
    still_alive = is_alive(children[0])
    process.communicate()  # ends when nothing holds the pipe any more
    assert not still_alive


def test_every_misbehaviour_has_a_test() -> None:
    text = Path(__file__).read_text()
    assert [name for name in MISBEHAVIOURS if f'"{name}"' not in text] == []
    with pytest.raises(ValueError, match="expected one of"):
        write_standin(Path("unused"), misbehave="typo")
