"""The fork's command line: every known way in which it fails is detected and reported."""

from __future__ import annotations

import os
import shlex
import signal
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from standin.vmaf import read_calls, write_standin
from support import media
from support.engine_helpers import (
    FFMPEG,
    assert_equal_rows,
    broken,
    failure,
    ffmpeg_engine,
    score,
    unavailable,
    vmaf_engine,
    write_program,
)

from vmafarm.common.errors import UnavailableError
from vmafarm.engines.base import Pass
from vmafarm.engines.vmaf import VmafEngine
from vmafarm.process.finished import Finished
from vmafarm.process.run import Stop, Stopped
from vmafarm.schema.features import EXTRACTORS, FEATURE_NAMES

Clips = Callable[[str], Path]
DAMAGED = ("empty", "cut", "short", "missing_key")
ON_GPU = {"adm", "vif", "motion", "motion_v2", "psnr", "ciede", "float_ms_ssim", "psnr_hvs"}


def scored(engine: VmafEngine) -> list[list[str]]:
    return [call["arguments"] for call in read_calls(engine.vmaf)]


def named(arguments: list[str]) -> list[str]:
    return [b for a, b in pairwise(arguments) if a == "--feature"]


# Passes


def test_one_pass_on_the_cpu_has_everything(clip: Path) -> None:
    (one,) = vmaf_engine(Path("/bin/vmaf"), "full").passes(clip, "clip")
    assert set(named(one.arguments)) == set(EXTRACTORS)
    assert one.features == FEATURE_NAMES


def test_cuda_is_split_in_two_passes_and_the_second_pays_for_no_model(clip: Path) -> None:
    gpu, cpu = vmaf_engine(Path("/bin/vmaf"), "full", "cuda").passes(clip, "clip")
    assert set(named(gpu.arguments)) == {f"{name}_cuda" for name in ON_GPU}
    assert "version=vmaf_v0.6.1" in gpu.arguments
    assert set(named(cpu.arguments)) == {"float_ssim", "cambi", "ssimulacra2"}
    assert "--model" not in cpu.arguments
    assert "--no_prediction" in cpu.arguments
    assert (gpu.log, cpu.log) == ("clip.json", "clip-cpu.json")
    assert sorted((*gpu.features, *cpu.features)) == sorted(FEATURE_NAMES)


def test_second_pass_is_left_out_where_it_has_nothing_to_do(clip: Path) -> None:
    engine = vmaf_engine(Path("/bin/vmaf"), "identity", "cuda")
    assert len(engine.passes(clip, "clip")) == 2
    assert len(engine.passes(clip, "clip", ["cambi"])) == 1


def test_two_passes_run_side_by_side_and_are_merged(clips: Clips, tmp_path: Path) -> None:
    # Each waits for three seconds, so the second would start that much later if it had to wait for the first.
    program = write_standin(tmp_path / "standin", misbehave="slow", seconds=3.0)
    cuda = score(vmaf_engine(program, "full", "cuda"), clips("240x240.mkv"), tmp_path)
    first, second = read_calls(program)
    assert abs(first["time"] - second["time"]) < 2.5
    whole = write_standin(tmp_path / "whole")
    cpu = score(vmaf_engine(whole, "full"), clips("240x240.mkv"), tmp_path)
    assert_equal_rows(cuda.row, cpu.row, 0)


def test_ten_bit_frames_are_passed_on_with_ten_bits(clips: Clips, standin: Path, tmp_path: Path) -> None:
    extracted = score(vmaf_engine(standin), clips("ten_bit.mkv"), tmp_path)
    assert extracted.bit_depth == 10
    assert extracted.pixel_format == "yuv420p10le"
    expected = score(ffmpeg_engine(), clips("ten_bit.mkv"), tmp_path)
    assert_equal_rows(extracted.row, expected.row, 1e-9)


# One clip


@pytest.mark.parametrize(
    ("how", "failed", "words"),
    [
        ("exit_255", "engine_error", "vmaf: exit status 255: problem reading pictures"),
        ("flush_failure_234", "engine_error", "vmaf: exit status 234: problem flushing context"),
        ("abort_without_output", "engine_error", "vmaf: killed by SIGABRT"),
        ("no_models", "engine_error", "vmaf: exit status 255: problem loading model: vmaf_v0.6.1"),
        ("no_models_silently", "missing_feature", "the engine's log has no vmaf (160x240)"),
        ("log_not_written", "bad_log", "the engine wrote no log"),
        ("log_empty", "bad_log", "the log is empty"),
        ("log_cut", "bad_log", "the log is cut or not JSON: "),
        ("log_short", "bad_log", "the log has 5 frames, 6 were decoded"),
        ("log_missing_key", "missing_feature", "frame 3 of 6 has no "),
        ("enomem", "out_of_memory", "the engine could not allocate memory"),
        ("usage_error", "engine_error", "vmaf: exit status 1: "),
    ],
)
def test_failure_has_its_class_and_says_what_was_found(
    clip: Path, tmp_path: Path, how: str, failed: str, words: str
) -> None:
    error = failure(broken(tmp_path, how), clip, tmp_path)
    assert error.failure == failed
    assert words in error.message
    says_nothing = {"abort_without_output", "no_models_silently", *(f"log_{x}" for x in DAMAGED)}
    assert bool(error.stderr) is (how not in says_nothing)
    assert len(error.stderr) <= 8


@pytest.mark.parametrize("backend_used", [True, False])
def test_fall_back_from_cuda_is_an_error_by_message_or_by_log(
    clip: Path, tmp_path: Path, backend_used: bool
) -> None:
    engine = broken(tmp_path, "cuda_init_falls_back", "cuda", backend_used=backend_used, spares_probe=True)
    engine.probe(tmp_path)
    before = len(scored(engine))
    error = failure(engine, clip, tmp_path)
    assert error.failure == "engine_error"
    assert error.message == "CUDA could not be initialised (vmaf_cuda_state_init)"
    assert error.stderr == ["problem during vmaf_cuda_state_init, using CPU"]
    assert len(scored(engine)) - before == 3  # both passes, and the one that failed at start once more


def test_log_that_names_another_backend_is_an_error(clip: Path, tmp_path: Path) -> None:
    # A build that falls back without a word but says so in its log.
    engine = broken(tmp_path, "cuda_falls_back_silently", "cuda")
    error = failure(engine, clip, tmp_path)
    assert (error.failure, error.message) == ("engine_error", "asked for CUDA, but the engine ran on cpu")
    assert "asked for CUDA, but the engine ran on cpu" in unavailable(engine, tmp_path).message


def test_pass_that_ran_elsewhere_than_asked_is_found_by_what_the_log_says() -> None:
    engine = vmaf_engine(Path("vmaf"), backend="cuda")
    older = Pass(["vmaf", "--feature", "adm_cuda"], "log.json", ("adm",))  # a build without --backend
    assert engine.wrong_backend(older, "cpu") is not None
    assert engine.wrong_backend(older, "cuda") is None
    assert engine.wrong_backend(older, "") is None  # a build that does not say
    cpu = Pass(["vmaf", "--feature", "cambi", "--backend", "cpu"], "log.json", ("cambi",))
    assert engine.wrong_backend(cpu, "cpu") is None
    assert engine.wrong_backend(cpu, "cuda") == "asked for the CPU, but the engine ran on cuda"


def test_exit_100_of_newer_builds_is_a_failed_start(clip: Path, tmp_path: Path) -> None:
    engine = broken(tmp_path, "cuda_init_exit_100", "cuda")
    error = failure(engine, clip, tmp_path)
    assert (error.failure, error.stderr) == ("engine_error", ["problem during vmaf_cuda_state_init"])
    assert len(scored(engine)) == 3


def test_failed_start_is_tried_once_more_and_passes(clip: Path, tmp_path: Path) -> None:
    engine = broken(tmp_path, "fails_first_time", "cuda", only_with="cuda")
    row = score(engine, clip, tmp_path).row
    assert len(scored(engine)) == 3
    assert_equal_rows(row, score(ffmpeg_engine(), clip, tmp_path).row, 1e-9)


def test_failed_start_is_not_tried_for_ever(clip: Path, tmp_path: Path) -> None:
    engine = broken(tmp_path, "fails_first_time", "cuda", only_with="cuda", times=9)
    error = failure(engine, clip, tmp_path)
    assert error.failure == "engine_error"
    assert error.message == "CUDA could not be initialised (vmaf_cuda_import_state)"
    assert len(scored(engine)) == 3


def test_failed_start_of_the_probe_is_tried_once_more(tmp_path: Path) -> None:
    assert broken(tmp_path, "fails_first_time", "cuda").probe(tmp_path).version


@pytest.mark.parametrize("how", ["hangs", "ignores_sigterm"])
def test_hanging_engine_is_killed_at_its_deadline(clip: Path, tmp_path: Path, how: str) -> None:
    started = time.monotonic()
    error = failure(broken(tmp_path, how), clip, tmp_path, timeout=0.7)
    assert error.failure == "timeout"
    assert error.message == "killed after 1 s"
    assert time.monotonic() - started < 5


def test_hanging_second_pass_takes_the_first_along(clip: Path, tmp_path: Path) -> None:
    error = failure(broken(tmp_path, "hangs", "cuda", only_with="cambi"), clip, tmp_path, timeout=1.5)
    assert error.failure == "timeout"


def test_hanging_decoder_is_killed_at_its_deadline(clip: Path, tmp_path: Path, standin: Path) -> None:
    engine = vmaf_engine(standin, ffmpeg=write_program(tmp_path / "ffmpeg", "sleep 60 & sleep 60\n"))
    assert failure(engine, clip, tmp_path, timeout=0.5).failure == "timeout"
    assert scored(engine) == []


def test_stop_ends_a_hanging_engine_at_once(clip: Path, tmp_path: Path) -> None:
    engine = broken(tmp_path, "ignores_sigterm")
    stop = Stop()
    timer = threading.Timer(0.5, stop.set)
    timer.start()
    started = time.monotonic()
    with pytest.raises(Stopped):
        score(engine, clip, tmp_path, stop=stop)
    assert time.monotonic() - started < 3
    timer.join()
    stop.close()


def test_engine_killed_from_outside_counts_as_out_of_memory(clip: Path, tmp_path: Path) -> None:
    engine = broken(tmp_path, "hangs")

    def kill() -> None:
        while not read_calls(engine.vmaf):
            time.sleep(0.02)
        os.kill(read_calls(engine.vmaf)[0]["pid"], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    error = failure(engine, clip, tmp_path, timeout=30)
    killer.join()
    assert error.failure == "out_of_memory"
    assert "killed by SIGKILL from outside" in error.message


def test_child_that_keeps_the_pipe_open_holds_nothing_up(clip: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    row = score(broken(tmp_path, "forks_child_keeping_pipe"), clip, tmp_path).row
    assert time.monotonic() - started < 5
    assert_equal_rows(row, score(ffmpeg_engine(), clip, tmp_path).row, 1e-9)


def test_flood_of_messages_holds_nothing_up(clip: Path, tmp_path: Path) -> None:
    row = score(broken(tmp_path, "floods_stderr", megabytes=8), clip, tmp_path).row
    assert_equal_rows(row, score(ffmpeg_engine(), clip, tmp_path).row, 1e-9)


def test_scores_that_are_all_null_are_a_failure(clip: Path, tmp_path: Path) -> None:
    error = failure(broken(tmp_path, "nan_everywhere"), clip, tmp_path)
    assert error.failure == "bad_frames"
    assert error.message.startswith(
        "adm2 has no finite value on 6 of 6 frames, the first is frame 0; adm_scale0 "
    )


def test_build_that_would_end_where_an_extractor_refuses_the_size_never_runs_it(
    clips: Clips, standin: Path, tmp_path: Path
) -> None:
    # Without threads the refusal would end the run with 234.
    engine = vmaf_engine(standin, "full", threads=0)
    extracted = score(engine, clips("160x120.mkv"), tmp_path)
    assert len(scored(engine)) == 1
    assert extracted.notes == ("cambi refuses 160x120", "float_ms_ssim refuses 160x120")
    expected = score(ffmpeg_engine("full"), clips("160x120.mkv"), tmp_path)
    assert_equal_rows(extracted.row, expected.row, 1e-9)


def test_failure_that_has_nothing_to_do_with_the_size_is_not_tried_for_ever(
    clips: Clips, tmp_path: Path
) -> None:
    engine = broken(tmp_path, "exit_255")
    assert failure(engine, clips("160x120.mkv"), tmp_path).failure == "engine_error"
    assert len(scored(engine)) == 1


# Raw frames


def wrapped(folder: Path, after: str) -> Path:
    """The embedded ffmpeg; afterwards a command on the file that it wrote, "$last"."""
    script = f'{shlex.quote(str(FFMPEG))} "$@"; s=$?; for last; do :; done; {after}; exit $s\n'
    return write_program(folder / "ffmpeg", script)


@pytest.mark.parametrize(
    ("after", "failed", "words"),
    [
        ('truncate -s -100 "$last"', "decode_error", "decoding gave no usable frames: ends within a frame"),
        ('truncate -s -57606 "$last"', "unreadable", "the scratch file holds 5 frames, ffmpeg wrote 6"),
        ('rm "$last"', "decode_error", "decoding gave no usable frames: "),
        ("s=1", "engine_error", "ffmpeg: exit status 1"),
    ],
)
def test_raw_frames_that_are_not_whole_are_never_scored(
    clip: Path, standin: Path, tmp_path: Path, after: str, failed: str, words: str
) -> None:
    engine = vmaf_engine(standin, ffmpeg=wrapped(tmp_path, after))
    error = failure(engine, clip, tmp_path)
    assert error.failure == failed
    assert words in error.message
    assert scored(engine) == []


def test_raw_frames_cut_while_they_are_scored_are_noticed(clip: Path, standin: Path, tmp_path: Path) -> None:
    # The program itself ends 0 after the complete frames.
    cut = f'truncate -s -100 "$2"; exec {shlex.quote(str(standin))} "$@"\n'
    engine = vmaf_engine(write_program(tmp_path / "vmaf", cut))
    error = failure(engine, clip, tmp_path)
    assert (error.failure, error.message) == ("bad_log", "the log has 5 frames, 6 were decoded")


def test_clip_is_decoded_once_and_given_as_both_videos(clip: Path, standin: Path, tmp_path: Path) -> None:
    engine = vmaf_engine(standin)
    score(engine, clip, tmp_path)
    (arguments,) = scored(engine)
    both = [arguments[arguments.index(option) + 1] for option in ("--reference", "--distorted")]
    assert both == [str(tmp_path / "scratch" / "clip-000000.y4m")] * 2
    assert clip.name not in " ".join(arguments)


def test_device_is_chosen_by_the_environment(
    clip: Path, standin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    score(vmaf_engine(standin), clip, tmp_path)
    assert [call["cuda_visible_devices"] for call in read_calls(standin)] == ["3"]


def test_program_that_vanishes_is_the_machines_fault(clip: Path, tmp_path: Path) -> None:
    engine = vmaf_engine(tmp_path / "gone")
    with pytest.raises(UnavailableError, match=r"cannot run .*gone: No such file or directory"):
        score(engine, clip, tmp_path)
    with pytest.raises(UnavailableError, match=r"cannot run .*gone: No such file or directory"):
        score(vmaf_engine(Path("vmaf"), ffmpeg=tmp_path / "gone"), clip, tmp_path)


def test_full_scratch_folder_is_the_machines_fault(clip: Path, standin: Path, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "clip-000000.y4m").symlink_to("/dev/full")
    with pytest.raises(UnavailableError, match=r"the scratch folder .* has no space left"):
        score(vmaf_engine(standin), clip, tmp_path)


def test_start_failures_are_distinguished_from_others() -> None:
    engine = vmaf_engine(Path("vmaf"), backend="cuda")

    def fails(status: int, stderr: str) -> bool:
        return engine.failed_at_start(Finished(status, stderr, False, 1.0))

    assert fails(0, "problem during vmaf_cuda_state_init, using CPU\n")
    assert fails(255, "problem during vmaf_cuda_import_state\n")
    assert fails(100, "")
    assert not fails(255, "problem reading pictures\n")
    assert not fails(0, "")


def test_media_of_this_module_are_what_they_are_taken_for(clip: Path) -> None:
    assert len(media.decode(clip)) == 6 * 160 * 240 * 3 // 2
