"""`vmafarm estimate` where there is a GPU: which backend to take, without a row of the other one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from standin.vmaf import read_calls, write_standin
from support.command import call, corpus, write_scores
from support.media import make_clip

from vmafarm.process.gpu_here import GpuHere

NAMES = [f"{letter}.mp4" for letter in "abcdef"]
pytestmark = [pytest.mark.full, pytest.mark.usefixtures("elements_here")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with six clips."""
    (tmp_path / "clips").mkdir()
    clip = make_clip(tmp_path / "clip.mp4", size="160x120", frames=4).read_bytes()
    for name in NAMES:
        (tmp_path / "clips" / name).write_bytes(clip)
    write_scores(tmp_path / "scores.csv", NAMES)
    return tmp_path


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU in sight."""
    here = GpuHere(1, library=True, driver="580.65.06", listed=None, usable=1, container="")
    monkeypatch.setattr("vmafarm.forecast.look_for_gpu", lambda: here)


def estimate(folder: Path, program: Path, backend: str, *options: str):
    settings = ("kind=vmaf", f"vmaf={program}", f"backend={backend}", "plan=identity", "audit_every=0")
    words = [word for setting in settings for word in ("--set", f"engine.{setting}")]
    return call("estimate", *corpus("--run", "r", "--sample", "4", *words, *options), cwd=folder)


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize("backend", ["cpu", pytest.param("cuda", marks=pytest.mark.full)])
def test_both_backends_are_measured_and_no_row_of_the_other_is_kept(folder, standin, backend):
    other = {"cpu": "cuda", "cuda": "cpu"}[backend]
    finished = estimate(folder, standin, backend, "--json")
    found = json.loads(finished.stdout)
    assert (found["other"]["backend"], found["other"]["measured"]) == (other, 4)
    assert found["faster"] in ("cpu", "cuda")
    assert found["other"]["all"]["clips"] == len(NAMES)
    on_gpu, on_cpu = (found["all"], found["other"]["all"]) if backend == "cuda" else (
        found["other"]["all"], found["all"]
    )  # fmt: skip
    assert on_gpu["gpu_seconds"]["value"] > 0
    assert on_cpu["gpu_seconds"] is None
    assert on_cpu["core_seconds"]["value"] > 0
    assert f"scoring 4 clips on the {'GPU' if other == 'cuda' else 'CPU'} too" in finished.stderr
    # The run has the rows of its own backend alone.
    rows = call("sql", "SELECT count(*) AS n FROM clips", "--run", "r", "--json", cwd=folder).stdout
    assert json.loads(rows)[0]["n"] == 4
    assert json.loads((folder / "runs/r/provenance.json").read_text())["backend"] == backend
    assert len([one for one in read_calls(standin) if "clip-0000" in str(one["arguments"])]) >= 8


@pytest.mark.usefixtures("seen")
def test_the_faster_one_is_named_with_its_hours(folder, standin):
    said = estimate(folder, standin, "cpu").stdout
    assert "all, on the GPU: by 4 clips scored on it too" in said
    assert "GPU hours" in said.partition("all, on the GPU:")[2]
    assert '\ntake             engine.backend = "c' in said
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.usefixtures("seen")
def test_a_gpu_that_does_not_work_is_said_and_costs_no_estimate(folder, tmp_path):
    program = write_standin(tmp_path / "bin", misbehave="cuda_init_exit_100")
    said = estimate(folder, program, "cpu").stdout
    assert "the GPU cannot be measured:" in said
    assert "all: 6 clips" in said
    assert "take  " not in said


def test_without_a_gpu_nothing_more_is_said_but_for_cuda_that_there_is_none(folder, standin, monkeypatch):
    here = GpuHere(0, library=False, driver="", listed=None, usable=0, container="")
    monkeypatch.setattr("vmafarm.forecast.look_for_gpu", lambda: here)
    said = estimate(folder, standin, "cuda").stdout
    assert "GPU              none was seen, these are not a GPU's figures: libcuda.so.1" in said
    assert "take  " not in said
    said = estimate(folder, standin, "cpu", "--run", "s").stdout
    assert "GPU" not in said


@pytest.mark.usefixtures("seen")
def test_raw_clips_whose_geometry_the_label_file_says_are_measured_too(tmp_path, standin):
    (tmp_path / "clips").mkdir()
    for name in ("a.yuv", "b.yuv"):
        (tmp_path / "clips" / name).write_bytes(bytes(range(256)) * 450)  # 4 frames of 160x120
    rows = "".join(f"{name},3.5,160,120\n" for name in ("a.yuv", "b.yuv"))
    (tmp_path / "scores.csv").write_text(f"video_name,video_score,width,height\n{rows}")
    found = json.loads(estimate(tmp_path, standin, "cpu", "--json").stdout)
    assert (found["other"]["backend"], found["other"]["measured"]) == ("cuda", 2)
