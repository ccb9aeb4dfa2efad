"""What verbs tell of their work while it takes long, and that programs are told nothing of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from support.command import call
from support.merge_helpers import Run, make_row, plan_run

from vmafarm.common import steps
from vmafarm.publish import merge_on_node
from vmafarm.query import checks

CLIPS = ["a.mp4", "b.mp4"]
TOLD = "check 3 of "


@pytest.fixture
def run(tmp_path: Path, undrawn: None) -> Run:
    """A run whose two clips have rows."""
    run = plan_run(tmp_path / "runs", CLIPS, scratch=tmp_path)
    run.shard([make_row(name) for name in CLIPS])
    run.freeze()
    return run


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All steps that are noted, without their counts."""
    found: list[str] = []
    plain = steps._Step

    def note(work: str = "", doing: str = "", items: str = "", *given: Any) -> steps._Step:
        found.append(": ".join(filter(None, (work, f"{doing} {items}".strip()))))
        return plain(work, doing, items, *given)

    monkeypatch.setattr(steps, "_Step", note)
    return found


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lines that are told while the third check takes its time: until it is told, briefly if nobody tells."""
    told: list[str] = []
    run_check = checks.run_check

    def take_time(connection: Any, check: checks.Check, limit: int | None) -> checks.Outcome:
        ends = time.monotonic() + (30 if steps._Now.teller else 0.5)
        while check.number == 3 and time.monotonic() < ends and not any(TOLD in line for line in told):
            time.sleep(0.01)
        return run_check(connection, check, limit)

    monkeypatch.setattr(checks, "run_check", take_time)
    monkeypatch.setattr(steps, "say_aside", told.append)
    monkeypatch.setattr(steps, "LINE_SECONDS", 0.01)
    return told


def test_a_plan_names_its_steps(tmp_path: Path, noted: list[str]) -> None:
    (tmp_path / "clips").mkdir()
    for name in CLIPS:
        (tmp_path / "clips" / name).write_bytes(b"1")
    (tmp_path / "scores.csv").write_text("video_name,video_score\na.mp4,1\nb.mp4,2\n")
    words = ("--clips", "clips", "--scores", "scores.csv", "--run", "r")
    call("plan", *words, cwd=tmp_path)
    assert list(dict.fromkeys(noted)) == [
        "planning", "planning: reading the label file", "planning: looking at the clips",
        "planning: finding clips", "planning: joining scores and clips", "planning: writing the plan",
        "planning: writing the labels",
    ]  # fmt: skip
    noted.clear()
    call("plan", *words, cwd=tmp_path)
    assert "planning: comparing with the plan" in noted


def test_a_merge_names_its_steps_and_each_check(run: Run, tmp_path: Path, noted: list[str]) -> None:
    call("merge", cwd=tmp_path, status=None)
    wanted = [
        "merging", "looking at files", "reading shards", "writing the table: rows",
        "looking for missing clips", "check 1 of ", "putting the table in place", "copying the run",
        f"check {len(checks.usual_checks())} of ", "drawing the report",
    ]  # fmt: skip
    for step in wanted:  # in this order
        assert any(step in line for line in noted), (step, noted)
        del noted[: next(at for at, line in enumerate(noted) if step in line)]


def test_verbs_on_tables_name_their_steps(run: Run, tmp_path: Path, noted: list[str]) -> None:
    call("merge", cwd=tmp_path, status=None)
    table = str(run.config.folder.table)
    for words, wanted in (
        (("compare", table, table), ["comparing the tables"]),
        (("split", table, "--train", "0.5", "--val", "0.5", "--test", "0"), ["splitting the table"]),
        (
            ("combine", "all.parquet", table),
            ["combining", "combining: reading the tables", "combining: choosing the rows",
             "combining: writing the table: rows"],
        ),
    ):  # fmt: skip
        noted.clear()
        call(*words, cwd=tmp_path)
        assert list(dict.fromkeys(noted)) == wanted


def test_checks_are_told_while_they_run_but_not_to_programs(
    run: Run, tmp_path: Path, slow: list[str]
) -> None:
    said = call("qa", cwd=tmp_path, status=None)
    assert any(line.startswith(f"{TOLD}{len(checks.usual_checks())}: missing") for line in slow)
    assert TOLD not in said.stdout
    slow.clear()
    json.loads(call("qa", "--json", cwd=tmp_path, status=None).stdout)
    assert slow == []


def test_the_log_of_a_merge_job_has_the_steps(run: Run, slow: list[str]) -> None:
    merge_on_node(run.config.model_dump())
    assert any(line.startswith(TOLD) for line in slow)
