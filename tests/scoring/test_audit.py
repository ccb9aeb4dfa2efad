"""Audits: which clips are scored by both plans, and what is made of what they show."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standin.vmaf import read_calls, write_standin
from support.command import call, corpus, table, write_scores
from support.merge_helpers import make_row, plan_run

from vmafarm.merging.merge import merge
from vmafarm.merging.result import summarise
from vmafarm.run_folder.element_records import read_elements
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.planned_clips import name_digest
from vmafarm.schema.features import KNOWN, identity_value
from vmafarm.scoring.audit import audited_clips, differences, wrong_constants
from vmafarm.scoring.deadline import Deadline
from vmafarm.shards.journal import read_journal

SIZE = (240, 240)
pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def folder(tmp_path: Path, clips: Callable[[str], Path]) -> Path:
    """A working folder with three clips."""
    (tmp_path / "clips").mkdir()
    names = ["a.mkv", "b.mkv", "c.mkv"]
    for name in names:
        shutil.copy(clips("240x240.mkv"), tmp_path / "clips" / name)
    write_scores(tmp_path / "scores.csv", names)
    return tmp_path


def run(folder: Path, name: str, *settings: str, status: int = 0) -> tuple[str, dict[str, Any]]:
    """Run it; what it said, and its report."""
    options = [word for setting in settings for word in ("--set", setting)]
    finished = call("run", *corpus("--run", name, *options), cwd=folder, status=status)
    report = folder / "runs" / f"full_features_{name}.merge.json"
    return finished.stdout + finished.stderr, json.loads(report.read_text()) if report.exists() else {}


def entries(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """Clip log of a run, by clip."""
    logs = (folder / "runs" / name / "clip_log").glob("*.parquet")
    return {entry["clip_name"]: entry for path in logs for entry in table(path).to_pylist()}


@given(st.lists(st.text(st.characters(codec="utf-8")), unique=True), st.integers(0, 300), st.randoms())
def test_the_choice_depends_on_the_names_alone_and_is_never_empty(names, every, draw):
    first = min(names, key=name_digest, default="")
    chosen = audited_clips(names, every, first)
    assert audited_clips(draw.sample(names, len(names)), every, first) == chosen
    assert chosen <= set(names)
    assert bool(chosen) == bool(names and every)
    if every == 1:
        assert chosen == set(names)


def test_one_clip_in_so_many_is_chosen_the_same_ones_on_every_machine():
    names = [f"orig_{i}_540_5s.mp4" for i in range(20_000)]
    assert 70 < len(audited_clips(names, 200, "")) < 130
    few = ["orig_114_540_5s.mp4", "orig_135_540_5s.mp4", "orig_230_540_5s.mp4"]
    assert sorted(audited_clips(names[:300], 100, min(names[:300], key=name_digest))) == few


@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("name", KNOWN)
def test_each_constant_is_compared_frame_by_frame(name, bit_depth):
    right = identity_value(name, bit_depth, *SIZE)
    values = np.full(5, right)
    assert wrong_constants({name: values}, bit_depth, *SIZE) == []
    if math.isfinite(right):
        values[2] = right + 9e-7
        assert wrong_constants({name: values}, bit_depth, *SIZE) == []
    values[3] = 12.5
    (told,) = wrong_constants({name: values}, bit_depth, *SIZE)
    expected = f"{right:g}" if math.isfinite(right) else "NaN"
    assert told == f"{name} is 12.5 on frame 3, expected {expected}"
    if math.isfinite(right):
        values[1] = math.nan
        assert wrong_constants({name: values}, bit_depth, *SIZE)[0].startswith(f"{name} is NaN on frame 1")


def test_what_must_be_measured_is_no_constant_and_is_compared_between_plans():
    one = {"cambi": np.array([0.1, 0.2]), "vmaf": np.array([99.0, math.nan])}
    assert wrong_constants(one, 8, *SIZE) == []
    assert differences(one, {"cambi": np.array([0.1, 0.2]), "vmaf": np.array([99.0, math.nan])}) == []
    other = {"cambi": np.array([0.1, 0.3]), "vmaf": np.array([99.0, 98.0]), "motion": np.array([1.0, 2.0])}
    assert differences(one, other) == [
        "cambi is 0.2 on frame 1, 0.3 with the other plan",
        "vmaf is NaN on frame 1, 98 with the other plan",
    ]


@pytest.mark.full
def test_the_table_is_the_same_bytes_however_many_clips_are_audited(folder: Path) -> None:
    tables = {}
    for every, audited in ((0, 0), (200, 1), (1, 3)):
        (folder / "runs").mkdir(exist_ok=True)
        said, report = run(
            folder, "r", "engine.kind=ffmpeg", "engine.plan=identity", f"engine.audit_every={every}"
        )
        assert report["audits"]["clips"] == audited
        assert ("all constants were as expected" in said.replace("\n" + " " * 17, " ")) == bool(audited)
        logged = entries(folder, "r")
        assert sum(entry["audit"] == "equal" for entry in logged.values()) == audited
        for entry in logged.values():
            assert math.isnan(entry["seconds_other_plan"]) == (entry["audit"] == "")
        tables[every] = (folder / "runs" / "full_features_r.parquet").read_bytes()
        shutil.rmtree(folder / "runs")
    assert tables[0] == tables[1] == tables[200]


@pytest.mark.full
def test_a_full_run_says_after_its_first_clip_what_the_identity_plan_would_take(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine a look that may take 1% of the time comes after the end of so short a run.
    monkeypatch.setattr("vmafarm.scoring.local_executor._WATCHED_SHARE", 1.0)
    (folder / "clips" / "c.mkv").unlink()
    settings = ("engine.kind=ffmpeg", "engine.plan=full", "engine.audit_every=1", "extract.workers=1")
    said, report = run(folder, "r", *settings)
    assert (report["audits"]["clips"], report["audits"]["differ"]) == (1, 0)
    lines = said.splitlines()
    (advice,) = [at for at, line in enumerate(lines) if line.startswith("plan full: ")]
    assert "--plan identity from here on: about " in lines[advice]
    assert advice < next(at for at, line in enumerate(lines) if line.startswith("scored "))
    (element,) = read_elements(RunFolder(folder / "runs", "r"))
    assert element.seconds_full > element.seconds_identity > 0
    first = min(entries(folder, "r").values(), key=lambda entry: entry["finished_at"])
    assert first["audit"] == "equal"


@pytest.mark.usefixtures("elements_here")
@pytest.mark.parametrize("backend", ["cpu", pytest.param("cuda", marks=pytest.mark.full)])
def test_a_wrong_constant_ends_the_element_and_publishes_nothing(
    folder: Path, tmp_path: Path, backend: str
) -> None:
    program = write_standin(tmp_path / "bin", misbehave="wrong_constant")
    settings = ("engine.kind=vmaf", f"engine.vmaf={program}", f"engine.backend={backend}")
    said, _ = run(
        folder, "r", *settings, "engine.plan=identity", "engine.audit_every=1", "extract.workers=1", status=1
    )
    text = " ".join(said.split())
    assert "a constant that the plan identity fills in differs from its measured value" in text
    assert "psnr_y is 41.5 on frame" in text
    assert "ciede2000 is 33.25 on frame" in text
    assert "float_ssim is 0.875 on frame" in text
    assert "expected NaN" in text
    assert 'engine.plan = "full"' in text
    failures = [
        json.loads(line)
        for path in (folder / "runs/r/failures").glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    # The next clip was decoded already: with two in work, two may be reported, each once.
    assert {one["failure"] for one in failures} == {"wrong_constant"}
    assert len({one["clip_name"] for one in failures}) == len(failures)
    assert not (folder / "runs/full_features_r.parquet").exists()
    # Rows that come without audits do not make it unknown.
    said, _ = run(folder, "r", *settings, "engine.plan=identity", "engine.audit_every=0", status=1)
    assert "nothing published, 1 reason: 1. [wrong_constant]" in " ".join(said.split())
    assert not (folder / "runs/full_features_r.parquet").exists()


@pytest.mark.usefixtures("elements_here")
def test_a_wrong_constant_under_the_full_plan_is_reported_and_costs_no_row(
    folder: Path, tmp_path: Path
) -> None:
    program = write_standin(tmp_path / "bin", misbehave="wrong_constant")
    said, report = run(
        folder, "r", "engine.kind=vmaf", f"engine.vmaf={program}", "engine.plan=full", status=1
    )
    assert "[audits]" in said  # what was measured is in the rows, and the checks judge it
    assert "[numbers_where_nan]" in said
    assert (report["audits"]["clips"], report["audits"]["differ"]) == (1, 1)
    (audited,) = [entry for entry in entries(folder, "r").values() if entry["audit"]]
    assert audited["audit"] == "differs"
    assert "audit: psnr_y is 41.5 on frame 5, expected 60" in audited["notes"]


@pytest.mark.usefixtures("elements_here")
def test_an_audit_that_fails_costs_no_row(folder: Path, tmp_path: Path) -> None:
    program = write_standin(
        tmp_path / "bin", misbehave="abort_without_output", only_with="ssimulacra2", spares_probe=True
    )
    said, report = run(
        folder,
        "r",
        "engine.kind=vmaf",
        f"engine.vmaf={program}",
        "engine.plan=identity",
        "engine.audit_every=1",
    )
    assert (report["audits"]["clips"], report["audits"]["failed"]) == (0, 3), said
    assert all("audit: engine_error" in entry["notes"] for entry in entries(folder, "r").values())
    assert any("ssimulacra2" in str(call) for call in read_calls(program))


@pytest.mark.usefixtures("elements_here")
def test_another_clip_is_audited_instead_of_one_that_failed(folder: Path) -> None:
    names = ["a.mkv", "b.mkv", "c.mkv"]
    (chosen,) = audited_clips(names, 200, min(names, key=name_digest))
    (folder / "clips" / chosen).write_bytes(b"no video")
    settings = ("engine.kind=ffmpeg", "engine.plan=identity", "merge.max_failed_share=0.5")
    said, report = run(folder, "r", *settings, "extract.workers=1")
    assert (report["audits"]["clips"], report["audits"]["differ"]) == (1, 0), said
    assert chosen not in entries(folder, "r")


def test_a_lack_of_audited_clips_is_reported(tmp_path: Path) -> None:
    made = plan_run(tmp_path, ["a.mp4"])
    made.shard([make_row("a.mp4")])
    result = merge(made.folder, made.config)
    (finding,) = [one for one in result.findings if one.name == "not_audited"]
    assert finding.severity == "warn"
    assert "--limit 20 and engine.audit_every = 1" in finding.message
    assert any(line.startswith("audited          no clip by both plans") for line in summarise(result))
    engine = made.config.engine.model_copy(update={"audit_every": 0})
    chosen = merge(made.folder, made.config.model_copy(update={"engine": engine}))
    assert not [one for one in chosen.findings if one.name == "not_audited"]


@pytest.mark.usefixtures("elements_here")
def test_extractors_that_refuse_the_size_are_not_audited(
    tmp_path: Path, clips: Callable[[str], Path]
) -> None:
    (tmp_path / "clips").mkdir()
    shutil.copy(clips("160x120.mkv"), tmp_path / "clips" / "small.mkv")
    write_scores(tmp_path / "scores.csv", ["small.mkv"])
    _, report = run(tmp_path, "r", "engine.kind=ffmpeg", "engine.plan=identity")
    assert (report["audits"]["clips"], report["audits"]["differ"]) == (1, 0)


def test_an_audited_clip_makes_no_other_look_too_long():
    deadline = Deadline(minutes=100)
    deadline.note(5000, audited=True)
    deadline.note(2)
    assert deadline.allows_another()
    assert not deadline.allows_another(audited=True)


def test_a_journal_of_an_earlier_version_has_no_audits(tmp_path):
    run = plan_run(tmp_path, ["a.mp4"])
    path = run.journal([make_row("a.mp4")], without=("audit", "seconds_other_plan"))
    ((_, read),) = read_journal(path).rows
    assert read["audit"] == ""
    assert math.isnan(read["seconds_other_plan"])
