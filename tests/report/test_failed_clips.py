"""`vmafarm failures`: which clips were tried and have no row, and why."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from support.command import call
from support.errors_document import documented
from support.merge_helpers import Run, make_row, plan_run

CLIPS = [f"{letter}.mp4" for letter in "abcde"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Clips with a row, failed for good, tried once, done at last, and never tried."""
    run = plan_run(tmp_path / "runs", CLIPS, slices=2)
    run.freeze()
    run.shard([make_row("a.mp4")], 0)
    run.fail("b.mp4", tries=2)
    run.fail("c.mp4", "timeout", tries=1)
    run.fail("a.mp4", "timeout", tries=1)
    return run


def found(folder: Path, *words: str) -> list[tuple[str, str, int, bool, int]]:
    document = json.loads(call("failures", "--json", *words, cwd=folder).stdout)
    assert (document["version"], document["run"], document["unread"]) == (1, "demo", 0)
    return [
        (clip["clip_name"], clip["failure"], clip["tries"], clip["final"], clip["slice"])
        for clip in document["clips"]
    ]


def test_clips_without_a_row_that_were_tried_are_listed_final_ones_first(run: Run, tmp_path: Path) -> None:
    assert found(tmp_path) == [
        ("b.mp4", "decode_error", 2, True, 1),
        ("c.mp4", "timeout", 1, False, 0),
    ]


def test_a_class_of_failure_can_be_chosen(run: Run, tmp_path: Path) -> None:
    assert [name for name, *_ in found(tmp_path, "--class", "timeout")] == ["c.mp4"]
    assert len(found(tmp_path, "--class", "timeout", "--class", "decode_error")) == 2
    assert found(tmp_path, "--class", "bad_log") == []
    documented("a class of failure that is not known (`failures --class`)")
    said = call("failures", "--class", "timeot", cwd=tmp_path, status=2).stderr
    assert "no class of failure 'timeot'" in said
    assert "timeout" in said


def test_a_terminal_gets_reason_tries_and_commands_that_say_more(run: Run, tmp_path: Path) -> None:
    said = call("failures", cwd=tmp_path).stdout.splitlines()
    assert said[0] == "1 clip failed for good, 1 to be tried again"
    assert said[1:4] == [
        "b.mp4", "  decode_error, for good: 2 tries on h1, slice 1", "    cannot take b.mp4",
    ]  # fmt: skip
    assert said[5] == "  timeout, to be tried again: 1 try on h1, slice 0"
    command = shlex.split(said[-1])
    assert command[:4] == ["vmafarm", "sql", "--run", "demo"]
    rows = call(*command[1:-1], "--csv", command[-1].replace("NAME", "b.mp4"), cwd=tmp_path).stdout
    assert rows.count("cannot take b.mp4") == 2


def test_a_run_without_failures_and_one_with_damaged_records_say_so(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "runs", CLIPS)
    run.freeze()
    assert call("failures", cwd=tmp_path).stdout == "0 clips failed for good, 0 to be tried again\n"
    run.folder.failures.mkdir()
    (run.folder.failures / "h1.jsonl").write_text("{}\n")
    assert "1 damaged record could not be read" in call("failures", cwd=tmp_path).stdout
