"""The record of a merge job says how the merge ended, however it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from support.fake_slurm import planned

from vmafarm import publish
from vmafarm.common.errors import IncompleteError, UnavailableError, UsageError
from vmafarm.publish import merge_on_node
from vmafarm.run_folder.merge_jobs import MergeJobLog, merge_job_path, read_merge_job


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    monkeypatch.setenv("SLURMD_NODENAME", "node3")
    return planned(tmp_path / "runs", 2)


def end(run, monkeypatch, error):
    def deliver(*_):
        assert read_merge_job(run.folder, "15").outcome == "", "it has begun"
        raise error

    monkeypatch.setattr(publish, "deliver", deliver)
    with pytest.raises(BaseException) as ended:
        merge_on_node(run.config.model_dump())
    record = read_merge_job(run.folder, "15")
    assert record.node == "node3"
    assert record.ended_at >= record.started_at
    return ended.value, record.outcome, record.reasons


@pytest.mark.parametrize(
    ("error", "status", "outcome"),
    [
        (IncompleteError("other merges publish theirs", "wait"), 1, "refused"),
        (UsageError("a damaged manifest", "restore it"), 2, "failed"),
        (UnavailableError("no space", "free space"), 3, "failed"),
    ],
)
def test_an_error_is_recorded_with_its_hint(run, monkeypatch, capsys, error, status, outcome):
    ended, *found = end(run, monkeypatch, error)
    assert ended.code == status
    assert found == [outcome, (error.message, error.hint)]
    assert capsys.readouterr().out == f"{error}\n"


def test_a_bug_is_recorded_and_its_exception_propagates(run, monkeypatch):
    assert [str(part) for part in end(run, monkeypatch, RuntimeError("a bug"))] == [
        "a bug", "failed", "('RuntimeError: a bug',)",
    ]  # fmt: skip


def test_an_interrupt_is_recorded(run, monkeypatch, capfd):
    ended, *found = end(run, monkeypatch, KeyboardInterrupt())
    assert ended.code == 1
    assert found == ["stopped", ("it was stopped: vmafarm merge, or vmafarm retry",)]


DEAF = """if True:
    import json, sys, time
    from contextlib import suppress
    from vmafarm import publish

    def deliver(*_):
        print("at work", flush=True)
        while True:
            with suppress(KeyboardInterrupt):
                time.sleep(60)

    publish.deliver = deliver
    publish.merge_on_node(json.loads(sys.argv[1]))
"""


def test_a_merge_that_must_be_killed_is_recorded_too(run):
    document = json.dumps(run.config.model_dump())
    with subprocess.Popen([sys.executable, "-c", DEAF, document], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"at work\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 1
    assert read_merge_job(run.folder, "15").outcome == "stopped"


def test_a_requeued_job_begins_its_record_anew(run):
    MergeJobLog(run.folder).end("failed", ["no space"])
    MergeJobLog(run.folder)
    record = read_merge_job(run.folder, "15")
    assert (record.outcome, record.ended_at, record.reasons) == ("", "", ())


def test_a_record_that_cannot_be_written_does_not_stop_the_merge(run):
    run.folder.merge_jobs.write_text("a file in its place")
    MergeJobLog(run.folder).end("published")
    assert read_merge_job(run.folder, "15") is None


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "delighted"}, {"ended_at": "yesterday"}, {"reasons": "one"}, {"reasons": [1]},
        {"node": None}, {"job": 15},
    ],
    ids=str,
)  # fmt: skip
def test_an_invalid_record_counts_as_none(run, change):
    MergeJobLog(run.folder).end("refused", ["missing: 2 of 2 clips"])
    path = merge_job_path(run.folder, "15")
    assert read_merge_job(run.folder, "15") is not None
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert read_merge_job(run.folder, "15") is None


def test_a_fifo_in_its_place_does_not_block(run):
    run.folder.merge_jobs.mkdir()
    os.mkfifo(merge_job_path(run.folder, "15"))
    assert read_merge_job(run.folder, "15") is None
