"""`vmafarm estimate`: a few clips are scored here, their rows count, and they tell of the others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from standin.vmaf import write_standin
from support.command import QUICK, call, corpus, table, write_scores
from support.elements import run_here
from support.media import make_clip
from support.merge_helpers import make_row, plan_run

from vmafarm.config.sections import EngineSection
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.cost.measured import Measured
from vmafarm.forecast import forecast
from vmafarm.run_folder.manifest import load_manifest

NAMES = [*(f"small{i}.mp4" for i in range(8)), *(f"large{i}.mp4" for i in range(4))]


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with clips of two sizes."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "clips").mkdir()
    small = make_clip(folder / "small.mp4", size="160x120", frames=4)
    large = make_clip(folder / "large.mp4", size="480x270", frames=12)
    for name in NAMES:
        source = small if name.startswith("small") else large
        (folder / "clips" / name).write_bytes(source.read_bytes())
    write_scores(folder / "scores.csv", NAMES)
    return folder


@pytest.fixture
def folder(tmp_path: Path, corpus_folder: Path) -> Path:
    """Another one with the same clips."""
    shutil.copytree(corpus_folder / "clips", tmp_path / "clips")
    shutil.copy(corpus_folder / "scores.csv", tmp_path)
    return tmp_path


def estimate(folder: Path, *options: str, status: int = 0, run: str = "r"):
    given = corpus(*QUICK, "--run", run, "--set", "slices.count=3", *options)
    return call("estimate", *given, cwd=folder, status=status)


def found(folder: Path, *options: str) -> dict:
    return json.loads(estimate(folder, "--json", *options).stdout)


@pytest.mark.full
@pytest.mark.usefixtures("elements_here", "undrawn")
def test_the_rows_of_the_sample_count_and_the_table_is_the_same_bytes(folder: Path) -> None:
    said = estimate(folder, "--sample", "6").stdout
    assert "scored 6 clips in" in said
    assert "measured         6 clips on this machine" in said
    assert max(map(len, said.splitlines())) <= 80
    names = [name for path in (folder / "runs/r/shards").rglob("*.parquet")
             for name in table(path)["clip_name"].to_pylist()]  # fmt: skip
    assert sorted(name[:5] for name in names) == ["large"] * 2 + ["small"] * 4
    options = [*QUICK, "--run", "r", "--set", "slices.count=3"]
    assert "resuming: 6 of 12 clips done" in call("run", *corpus(*options), cwd=folder).stdout
    call("run", *corpus(*options, "--set", "run.root=whole"), cwd=folder)
    with_estimate, without = (folder / root / "full_features_r.parquet" for root in ("runs", "whole"))
    assert with_estimate.read_bytes() == without.read_bytes()


@pytest.mark.full
def test_what_was_measured_before_counts_and_only_what_lacks_is_scored(folder: Path) -> None:
    assert found(folder, "--sample", "4")["measured"] == 4
    again = estimate(folder, "--sample", "4")
    assert "enough clips were measured on this machine earlier: none is scored" in again.stdout
    more = found(folder, "--sample", "7")
    assert (more["measured"], more["missing"]["clips"], more["all"]["clips"]) == (7, 5, 12)
    # Other clips at once or threads are another measure; with all the rest scored it begins anew.
    other = found(folder, "--sample", "3", "--set", "engine.threads=2", "--set", "extract.workers=1")
    assert (other["measured"], other["at_once"], other["threads"]) == (3, 1, 2)
    whole = found(folder, "--sample", "100")
    assert (whole["measured"], whole["missing"]["clips"]) == (9, 0)
    assert whole["missing"]["core_seconds"] == {"value": 0.0, "low": 0.0, "high": 0.0}


@pytest.fixture(scope="module")
def grown(corpus_folder: Path) -> tuple[str, dict, str]:
    """What is estimated of a run from 2, from 8 and from all 12 clips: each adds to those before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vmafarm.run.run_local", run_here)
        few = estimate(corpus_folder, "--sample", "2").stdout
        return few, found(corpus_folder, "--sample", "8"), estimate(corpus_folder, "--sample", "12").stdout


def test_a_sample_too_small_for_an_interval_says_so(grown: tuple[str, dict, str]) -> None:
    said, _, _ = grown
    assert "95% interval     none: it takes at least 4 measured clips" in said
    assert " to " not in said.partition("missing:")[2]


def test_the_sample_foresees_what_all_clips_take(grown: tuple[str, dict, str]) -> None:
    total = grown[1]["all"]
    assert grown[1]["measured"] == 8
    assert 0 < total["core_seconds"]["low"] <= total["core_seconds"]["value"] <= total["core_seconds"]["high"]
    assert total["gpu_seconds"] is None
    assert total["here_seconds"]["value"] > 0


def test_a_run_that_is_done_tells_what_it_took(grown: tuple[str, dict, str]) -> None:
    _, _, said = grown
    assert "missing: 0 clips\nall: 12 clips\n  core hours     0.0" in said
    assert " to " not in said.partition("missing:")[2]


@pytest.mark.usefixtures("elements_here")
def test_where_no_clip_can_be_scored_it_says_where_to_look(folder: Path) -> None:
    for name in NAMES:
        (folder / "clips" / name).write_bytes(b"no video")
    failed = estimate(folder, "--sample", "4", status=1)
    assert 'nothing could be measured: no clip of "r" was scored on this machine' in failed.stderr
    assert "failures are in runs/r/failures" in failed.stderr


@pytest.mark.full
def test_gpus_share_the_sample_and_the_disk_space_for_frames_is_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    options = ["--set", "engine.plan=identity", "--set", f"engine.vmaf={write_standin(folder / 'bin')}"]
    options += ["--set", "engine.backend=cuda", "--set", "extract.workers=2", "--set", "slices.count=3"]
    options += ["--run", "gpu", "--sample", "5"]
    said = call("estimate", *corpus(*options), cwd=folder).stdout
    assert "measured         5 clips on this machine, 3 at once, 1 thread each" in said
    assert "  GPU hours " in said
    assert "with 2 cpus, 1 GPU" in said
    shown = " ".join(said.split())
    assert "scratch 2.3 MB per clip, 3 at once; the largest measured clip: 480x270, 12 frames, 8 bit" in shown
    assert len(list((folder / "runs/gpu/elements").iterdir())) == 2
    assert max(map(len, said.splitlines())) <= 80


@pytest.fixture
def run(tmp_path: Path):
    """Twenty clips, of which four were measured, each 10 s beside another one."""
    names = [f"{i:02d}.mp4" for i in range(20)]
    run = plan_run(tmp_path / "runs", names, 10)
    for i in range(4):
        run.shard([make_row(names[i])], i, "w")
    seconds = dict(zip(names[:4], [9.0, 11.0, 9.0, 11.0], strict=True))
    return run, Measured(seconds, element_share=0.5, cpu_share=0.8, at_once=2, threads=1)


def test_hours_here_and_in_slurm_follow_from_the_seconds_of_a_clip(run) -> None:
    run, measured = run
    run.config = run.config.model_copy(update={"slurm": SlurmSection(parallelism=4, cpus=2)})
    seen = forecast(run.config, load_manifest(run.folder), measured)
    assert seen.missing.core_seconds.value == pytest.approx(16 * 10 * 0.8)
    assert seen.missing.here_seconds.value == pytest.approx(16 * 10 * 0.5)
    assert seen.missing.slurm_seconds.value == pytest.approx(16 * 10 * 0.8 / (4 * 2))
    assert seen.all.core_seconds.value == pytest.approx(20 * 10 * 0.8)
    assert seen.all.core_seconds.high - seen.missing.core_seconds.high == pytest.approx(4 * 10 * 0.8)
    assert (seen.elements, seen.missing.gpu_seconds) == (4, None)


def test_on_gpus_slurms_time_goes_by_the_elements_here_which_have_one_each(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, measured = run
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    run.config = run.config.model_copy(
        update={"slurm": SlurmSection(parallelism=64, gpus=2), "engine": EngineSection(backend="cuda")}
    )
    seen = forecast(run.config, load_manifest(run.folder), measured).missing
    assert seen.gpu_seconds.value == pytest.approx(16 * 10 * 0.5)
    assert seen.here_seconds.value == pytest.approx(16 * 10 * 0.5 / 2)
    assert seen.slurm_seconds.value == pytest.approx(16 * 10 * 0.5 / (10 * 2))  # there are 10 slices
