"""The stand-in for the ``vmaf`` program computes what libvmaf does, and fails in the requested ways."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from standin.vmaf import read_calls, write_standin
from support import media
from support.standin_calls import CPU, CUDA, MODEL, features, metrics, run

from vmafarm.schema.features import BY_NAME, EXTRACTORS, FEATURES

Clips = Callable[[str], Path]
ON_GPU = ("adm", "vif", "motion", "motion_v2", "psnr", "ciede", "float_ms_ssim", "psnr_hvs")
WITHOUT_CIEDE = tuple(name for name in EXTRACTORS if name != "ciede")


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
