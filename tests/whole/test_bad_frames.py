"""A GPU gives a wrong value now and then: the table is that of a sound program, and the clip log tells."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from standin.vmaf import read_calls, write_standin
from support.command import call, corpus, write_scores
from support.elements import run_slices

from vmafarm.config.load import load
from vmafarm.config.sections import Config
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.run_folder.failures import read_failures
from vmafarm.run_folder.paths import RunFolder
from vmafarm.shards.clip_log import read_clip_log

pytestmark = pytest.mark.full

CLIPS = 5
WRONG = {
    "drops_value": "vif_scale0 has no finite value on frame 3 of 6",
    "zero_motion": "motion is 0 although the picture changes on frame 3 of 6",
}
"""What the stand-in does, and what is said of it."""


@pytest.fixture
def folder(tmp_path: Path, clips: Callable[[str], Path]) -> Path:
    """A working folder with five clips of six frames."""
    (tmp_path / "clips").mkdir()
    names = [f"c{number}.mkv" for number in range(CLIPS)]
    for name in names:
        shutil.copy(clips("160x240.mkv"), tmp_path / "clips" / name)
    write_scores(tmp_path / "scores.csv", names)
    return tmp_path


def settings(program: Path, *more: str) -> list[str]:
    keys = ("engine.kind=vmaf", f"engine.vmaf={program}", "engine.backend=cuda", "engine.plan=identity")
    return [word for key in (*keys, "extract.workers=1", *more) for word in ("--set", key)]


def entries(folder: RunFolder) -> dict[str, dict]:
    logs = [read_clip_log(path, 100).to_pylist() for path in folder.clip_logs.glob("*.parquet")]
    return {entry["clip_name"]: entry for log in logs for entry in log}


@pytest.mark.usefixtures("elements_here", "undrawn")
@pytest.mark.parametrize("how", WRONG)
def test_wrong_frames_of_a_gpu_change_no_byte_of_the_table(folder: Path, how: str) -> None:
    sound = write_standin(folder / "sound")
    racy = write_standin(
        folder / "racy", misbehave=how, only_with="cuda", spares_probe=True, after=1, times=2
    )
    for name, program in (("sound", sound), ("racy", racy)):
        # Audits would score a clip twice; they are not what is shown here.
        call("run", *corpus("--run", name, *settings(program, "engine.audit_every=0")), cwd=folder)
    tables = [(folder / f"runs/full_features_{name}.parquet").read_bytes() for name in ("sound", "racy")]
    assert tables[0] == tables[1]

    run = RunFolder(folder / "runs", "racy")
    records = read_failures(run.failures)
    assert [(one.failure, one.attempt, one.message) for one in records] == [("bad_frames", 1, WRONG[how])] * 2
    logged = entries(run)
    again = {one.clip_name for one in records}
    for name, entry in logged.items():
        told = f"scored on the CPU: bad_frames: {WRONG[how]}" if name in again else ""
        assert told in entry["notes"]
        assert ("scored on the CPU" in entry["notes"], entry["attempts"]) == (
            name in again,
            1 + (name in again),
        )
        assert entry["backend"] == ("cpu" if name in again else "cuda")
        assert (entry["frames"], entry["finite_frames"], entry["zero_motion"]) == (6, 6, 0)
    record = json.loads((folder / "runs/full_features_racy.merge.json").read_text())
    assert record["counts"]["rows_elsewhere"] == 2
    assert record["metadata"]["backend"] == "cuda"
    assert record["qa"]["scored_elsewhere"]["count"] == 2
    assert record["qa"]["finite_frames"]["result"] == "ok"
    assert "rows_elsewhere" not in json.loads(
        (folder / "runs/full_features_sound.merge.json").read_text()
    )["counts"]  # fmt: skip


def whole_passes_on_cpu(program: Path) -> list[str]:
    """Logs of clips whose VIF the CPU measured, which is a GPU's in any other pass of such a run."""
    words = [call["arguments"] for call in read_calls(program)]
    logs = [one[one.index("--output") + 1] for one in words if {"cpu", "vif"} <= set(one)]
    return [log for log in logs if log.startswith("clip-")]


def planned(folder: Path, program: Path, *more: str, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(folder)
    call("plan", *corpus("--run", "r", *settings(program, "engine.audit_every=0", *more)), cwd=folder)
    words = settings(program, "engine.audit_every=0", *more)[1::2]
    config, _ = load(None, ["run.name=r", "corpus.clips=clips", "corpus.scores=scores.csv", *words])
    return with_frozen(config)


def test_a_gpu_that_dies_on_a_clip_leaves_it_to_the_cpu(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = write_standin(
        folder / "bin", misbehave="exit_255", only_with="cuda", spares_probe=True, times=1
    )
    config = planned(folder, program, monkeypatch=monkeypatch)
    assert run_slices(config).done == CLIPS
    (by_cpu,) = [entry for entry in entries(config.folder).values() if entry["backend"] == "cpu"]
    assert "scored on the CPU: engine_error: vmaf: " in by_cpu["notes"]
    assert len(whole_passes_on_cpu(program)) == 1


def test_a_gpu_that_fails_on_every_clip_ends_the_element_although_all_have_rows(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the CPU would score the whole corpus, while the GPU is paid for."""
    program = write_standin(folder / "bin", misbehave="drops_value", only_with="cuda", spares_probe=True)
    config = planned(folder, program, "extract.max_engine_failures=3", monkeypatch=monkeypatch)
    result = run_slices(config)
    assert (result.exit_code, result.done) == (3, 3)
    assert "3 engine failures in a row" in result.message
    assert len(entries(config.folder)) == 3, "the rows are kept"
    assert run_slices(config).done == 2


def test_without_another_try_the_clip_is_left_to_the_next_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = write_standin(
        folder / "bin", misbehave="zero_motion", only_with="cuda", spares_probe=True, times=1
    )
    config = planned(folder, program, "extract.retries=0", monkeypatch=monkeypatch)
    result = run_slices(config)
    assert (result.done, dict(result.failed)) == (CLIPS - 1, {"bad_frames": 1})
    assert run_slices(config).done == 1
    assert {entry["backend"] for entry in entries(config.folder).values()} == {"cuda"}


def test_wrong_frames_of_a_cpu_are_never_held_against_a_clip(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = write_standin(folder / "bin", misbehave="drops_value", spares_probe=True)
    config = planned(folder, program, "engine.backend=cpu", monkeypatch=monkeypatch)
    result = run_slices(config)
    assert (result.done, dict(result.failed)) == (0, {"bad_frames": CLIPS})
    write_standin(folder / "bin")
    assert run_slices(config).done == CLIPS
    assert not [entry for entry in entries(config.folder).values() if "on the CPU" in entry["notes"]]


def test_an_audited_clip_that_the_cpu_scores_is_audited_on_the_cpu(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing about the GPU, so it has no feature that is the farthest apart."""
    program = write_standin(
        folder / "bin", misbehave="drops_value", only_with="cuda", spares_probe=True, times=1
    )
    config = planned(folder, program, monkeypatch=monkeypatch)
    engine = config.engine.model_copy(update={"audit_every": 1})
    assert run_slices(config.model_copy(update={"engine": engine})).done == CLIPS
    logged = entries(config.folder).values()
    assert {entry["audit"] for entry in logged} == {"equal"}
    assert {(entry["backend"], bool(entry["audit_feature"])) for entry in logged} == {
        ("cuda", True), ("cpu", False),
    }  # fmt: skip
    rows = [log for log in whole_passes_on_cpu(program) if "-audit" not in log]
    assert len(rows) == 1
    assert sum("-audit" in log for log in whole_passes_on_cpu(program)) == CLIPS
