"""Status of a run that was never submitted: which elements are those of the latest `vmafarm run`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.fake_slurm import submitted
from support.hostile_run import FORGED, SEEN, TEXT
from support.merge_helpers import Run, make_row, plan_run

from vmafarm.cluster.status import Status, StatusReader, read_status
from vmafarm.cluster.status_table import as_json, table
from vmafarm.disk.jsonl import json_line
from vmafarm.process.identity import own_identity
from vmafarm.process.node import node_name
from vmafarm.run_folder.submissions import read_submissions

BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=100)
CLIPS = [f"{number:03}.mp4" for number in range(60)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return plan_run(tmp_path / "runs", CLIPS, slices=3)


def work(run: Run, since: datetime = BEGAN) -> None:
    """This process holds the lease."""
    document = {"host": node_name(os.environ), "user": "ada", "since": since.isoformat()}
    run.folder.at_work.write_text(json.dumps(document | {"identity": asdict(own_identity())}))


def element(
    run: Run, writer: str, began: float, slices: tuple[int, ...] = (0, 1, 2), job: str = "local", **end: Any
) -> None:
    """The record of an element that began so many seconds after the process."""
    run.folder.elements.mkdir(exist_ok=True)
    at = (BEGAN + timedelta(seconds=began)).isoformat(timespec="milliseconds")
    record = {
        "writer": writer, "job": job, "index": None, "node": "h1", "slices": list(slices),
        "clips": len(CLIPS), "started_at": at,
    }  # fmt: skip
    if "ended" in end:
        end["ended_at"] = (BEGAN + timedelta(seconds=end.pop("ended"))).isoformat(timespec="milliseconds")
    (run.folder.elements / f"{writer}.jsonl").write_bytes(json_line(record) + json_line(end))


def seen(run: Run) -> Status:
    return read_status(run.config, None)


def test_an_element_at_work_has_slices_a_rate_and_a_time_left(run: Run) -> None:
    run.shard([make_row(name) for name in CLIPS[0::3]], 0, "before")
    element(run, "before", -500, ended=-400)
    element(run, "now", 0, (1, 2))
    run.journal([make_row(name) for name in CLIPS[1::3][:10]], 1, "now")
    work(run)
    status = seen(run)
    assert (status.done, status.missing, status.working) == (30, 30, True)
    assert (status.states, dict(status.elements)) == ("drp", {"RUNNING": 1})
    seconds = (datetime.now(UTC) - BEGAN).total_seconds()
    assert status.clips_per_second == pytest.approx(10 / seconds, rel=0.1), "those of before do not count"
    assert status.seconds_left == pytest.approx(3 * seconds, rel=0.1)
    assert status.missing_slices == "", "there is nothing that a retry would submit"
    lines = table(status)
    assert f"at work    process {os.getpid()} of ada on {node_name(os.environ)}, since" in "\n".join(lines)
    run.folder.at_work.unlink()
    status = seen(run)
    assert (status.states, dict(status.elements), status.working) == ("dnn", {"KILLED": 1}, False)
    assert (status.clips_per_second, status.at_work) == (None, None)


def test_elements_of_one_run_on_several_gpus_are_counted_together(run: Run) -> None:
    element(run, "old", -900, ended=-800, exit_code=3, message="no engine")
    element(run, "one", 0, (0,), ended=50, exit_code=0)
    element(run, "two", 0.5, (1,), ended=20, exit_code=3, message="GPU 1 failed")
    element(run, "three", 1, (2,))
    work(run)
    assert dict(seen(run).elements) == {"COMPLETED": 1, "FAILED": 1, "RUNNING": 1}
    assert seen(run).messages == ((1, "GPU 1 failed"),)
    run.folder.at_work.unlink()
    assert dict(seen(run).elements) == {"COMPLETED": 1, "FAILED": 1, "KILLED": 1}


def test_a_second_round_belongs_to_the_process_at_work_and_later_stands_alone(run: Run) -> None:
    element(run, "one", 0, ended=50, exit_code=0)
    element(run, "two", 90, ended=95, exit_code=0)
    work(run)
    assert dict(seen(run).elements) == {"COMPLETED": 2}
    assert seen(run).clips_per_second is None, "none is at work: it merges"
    run.folder.at_work.unlink()
    assert dict(seen(run).elements) == {"COMPLETED": 1}


def test_those_that_were_killed_at_once_are_of_one_run(run: Run) -> None:
    for number in range(3):
        element(run, f"w{number}", number)
    element(run, "old", -300)
    assert dict(seen(run).elements) == {"KILLED": 3}


def test_a_watch_takes_the_rate_of_the_last_minutes_with_an_interval(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    element(run, "now", 0)
    run.journal([make_row(name) for name in CLIPS[0::3][:2]], 0, "now")
    work(run)
    reader = StatusReader(run.config, None)
    first = reader.read()
    assert first.seconds_left_between is None
    monkeypatch.setattr("vmafarm.cluster.status.datetime", _Later)
    run.journal([make_row(name) for name in CLIPS[0::3]], 0, "now")
    run.journal([make_row(name) for name in CLIPS[1::3]], 1, "now")
    status = reader.read()
    assert status.clips_per_second == pytest.approx(38 / 60, rel=0.1)
    low, high = status.seconds_left_between or (0.0, 0.0)
    assert low < (status.seconds_left or 0.0) < high


class _Later(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime.now(tz) + timedelta(seconds=60)


def test_a_run_that_was_submitted_shows_the_elements_of_its_submission_and_who_works_here(
    tmp_path: Path,
) -> None:
    run = submitted(tmp_path, 2)
    element(run, "here", 0, (0,))
    element(run, "there", 1, (1,), job=read_submissions(run.folder)[0].arrays[0].job)
    work(run)
    status = seen(run)
    assert (status.working, status.states) == (True, "pu"), "of the other slice the queue would know"
    assert dict(status.elements) == {}, "those of the submission, whose queue is not known here"
    assert status.at_work is not None


def test_a_lease_that_is_not_believed_shows_nothing(run: Run) -> None:
    element(run, "now", 0)
    run.folder.at_work.write_text("{}")
    assert (seen(run).working, seen(run).at_work, dict(seen(run).elements)) == (False, None, {"KILLED": 1})


def test_text_in_a_lease_forges_no_line_of_the_status(run: Run) -> None:
    document = {"host": f"n{TEXT}", "user": f"u{TEXT}", "since": BEGAN.isoformat()}
    elsewhere = asdict(replace(own_identity(), kernel="another"))
    run.folder.at_work.write_text(json.dumps(document | {"identity": elsewhere}))
    status = seen(run)
    assert status.at_work is not None
    lines = table(status)
    assert all(line.isprintable() and not line.startswith(FORGED) for line in lines)
    assert SEEN in "".join(line.strip() for line in lines)
    assert all(character.isprintable() for character in as_json(status))
