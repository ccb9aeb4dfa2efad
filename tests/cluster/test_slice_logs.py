"""What there is to read about one slice: its tasks, the ends of a log, its clips' failures."""

from __future__ import annotations

import pytest
from support import command
from support.fake_slurm import finish, name_of, planned, write_log, write_record
from support.terminal import pretend

from vmafarm.cluster.slice_logs import slice_logs
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.submit import submit
from vmafarm.common.errors import UsageError
from vmafarm.run_folder.log_files import tail


@pytest.fixture
def run(cluster, tmp_path):
    """Six slices in arrays 11 and 12."""
    run = planned(tmp_path / "runs", 6)
    submit(run.config, Slurm())
    return run


def tasks(found):
    return [(task.name, task.node, task.state) for task in found.tasks]


def refusal(*arguments):
    with pytest.raises(UsageError) as caught:
        slice_logs(*arguments, 20)
    return caught.value


def test_tasks_come_newest_first_each_with_how_it_ended(cluster, run):
    cluster.set_queue((name_of(run), "12|12|0|RUNNING|None|node3"))
    cluster.set_accounting("11_2|OUT_OF_MEMORY|node2")
    write_record(run, "11", 2, [2], minutes=30, exit_code=1, message="no time", done=0)
    write_record(run, "11", 2, [2], minutes=20, ended=False, node="node2")
    write_record(run, "12", 0, [0, 2, 4], minutes=10, ended=False, node="node3")
    write_record(run, "11", 3, [3], minutes=5)
    write_log(run, "12_0", "err", "working\n")
    found = slice_logs(run.config, Slurm(), 2, 20)
    assert tasks(found) == [
        ("12_0", "node3", "running"),
        ("11_2", "node2", "out of memory"),
        ("11_2", "node1", "ended"),
    ]
    assert [task.note for task in found.tasks] == ["", "", "0 rows written: no time"]
    assert list(found.logs.values()) == [["working"]]


def test_a_record_without_an_end_is_killed_if_squeue_has_it_no_more_or_it_began_again(cluster, run):
    cluster.fail("sacct", "Slurm accounting storage is disabled")
    cluster.set_queue((name_of(run), "11|11|2|RUNNING|None|node1"))
    write_record(run, "11", 2, [2], minutes=30, ended=False)
    write_record(run, "11", 2, [2], minutes=20, ended=False)
    write_record(run, "12", 0, [0, 2, 4], minutes=10, ended=False)
    write_log(run, "11_2", "err", "x\n")
    assert [state for _, _, state in tasks(slice_logs(run.config, Slurm(), 2, 20))] == [
        "killed", "running", "killed",
    ]  # fmt: skip
    cluster.fail("squeue", "down")
    found = slice_logs(run.config, Slurm(), 2, 20)
    assert [state for _, _, state in tasks(found)] == ["not known", "not known", "killed"]
    assert found.notes[0] == "the queue is unknown: squeue failed: down"


def test_an_element_that_never_began_is_shown_with_what_its_job_said(cluster, run):
    write_log(run, "11_4", "err", "FATAL: could not open image\n")
    found = slice_logs(run.config, Slurm(), 4, 20)
    assert tasks(found) == [("11_4", "", "not started")]
    assert found.logs == {str(run.folder.logs / "11_4_0_log.err"): ["FATAL: could not open image"]}


def test_a_single_job_has_its_log_without_an_index(cluster, tmp_path):
    run = planned(tmp_path / "one", 1)
    submit(run.config, Slurm())
    write_log(run, "11", "out", "FATAL\n")
    found = slice_logs(run.config, None, 0, 20)
    assert tasks(found) == [("11", "", "not known")]
    assert list(found.logs.values()) == [["FATAL"]]


def test_a_slice_without_a_log_is_one_message(cluster, run, tmp_path):
    cluster.set_queue((name_of(run), "11|11|2|PENDING|Resources|"))
    error = refusal(run.config, Slurm(), 2)
    assert error.message == "slice 2 has no log yet: 11_2 pending"
    local = planned(tmp_path / "local", 2)
    assert refusal(local.config, None, 1).message == "slice 1 has no log yet: no task has had it"


@pytest.mark.parametrize("number", [-1, 6, 99999])
def test_a_slice_that_does_not_exist_is_one_message(cluster, run, number):
    assert (
        refusal(run.config, Slurm(), number).message == f'the run "demo" has no slice {number}, only 0 to 5'
    )


def test_jobs_of_submissions_without_the_slice_are_no_strangers(cluster, run):
    finish(run, 2)
    write_record(run, "11", 2, [2])
    write_log(run, "11_2", "err", "x\n")
    again = submit(run.config, Slurm(), again=True).submission.arrays[0].job
    cluster.set_queue((name_of(run), f"{again}|{again}|0|RUNNING|None|node1"))
    assert slice_logs(run.config, Slurm(), 2, 20).notes == ()


def test_an_element_outside_of_slurm_is_shown_and_where_logs_lie(cluster, tmp_path):
    run = planned(tmp_path / "local", 2)
    write_record(run, "local", None, [0, 1])
    found = slice_logs(run.config, None, 1, 20)
    assert tasks(found) == [("local", "node1", "ended")]
    assert found.notes == (f"no log has the name of one of these tasks: look into {run.folder.logs}",)


def test_failures_are_those_of_the_slices_clips_and_the_latest_are_shown(cluster, run):
    write_record(run, "11", 2, [2])
    finish(run, 3)
    run.fail("c0002.mp4", "timeout", tries=3)
    run.fail("c0003.mp4")
    found = slice_logs(run.config, Slurm(), 2, 20)
    assert (found.clips, found.missing) == (1, 1)
    assert {record.clip_name for record in found.failures} == {"c0002.mp4"}
    assert found.lines(2)[-5:] == [
        "failed tries of its clips (the latest 2 of 3):",
        *["  c0002.mp4  timeout, on h1", "    cannot take c0002.mp4"] * 2,
    ]


def test_lines_fit_a_terminal_but_for_a_log_and_its_path(cluster, run, monkeypatch):
    pretend(monkeypatch, 60)
    write_record(run, "11", 2, [2], exit_code=3, message="far too long a message " * 20)
    write_log(run, "11_2", "err", f"{'x' * 300}\n")
    run.fail("c0002.mp4")
    lines = slice_logs(run.config, None, 2, 20).lines(20)
    wide = [line for line in lines if len(line) > 60 and not line.startswith(str(run.folder.logs))]
    assert wide == [f"  {'x' * 300}"]


def test_log_lines_are_escaped_and_only_the_last_ones_are_read(run):
    text = b"first\n" + b"y" * 300_000 + b"\n\nbar 10%\rbar 100%\r\nesc \x1b[2J \xff\n\ttab\n"
    path = write_log(run, "11_2", "err", text)
    assert tail(path, 20) == ["bar 100%", "esc \\x1b[2J \\xff", "        tab"]
    assert tail(path, 1) == ["        tab"]
    assert tail(path.with_name("none"), 5) == []
    assert tail(path.parent, 5) == []


def test_the_command_shows_the_slice(cluster, run, tmp_path):
    run.freeze()
    write_record(run, "11", 2, [2], exit_code=3, message="the GPU is gone", done=0)
    write_log(run, "11_2", "err", "".join(f"line {i}\n" for i in range(30)))
    options = ("--set", f"run.root={run.folder.root}", "--run", "demo")
    said = command.call("logs", "2", "--lines", "2", *options, cwd=tmp_path).stdout.splitlines()
    assert said[0] == "slice 2: 1 clip, 1 without a row"
    assert said[2].split()[:3] == ["11_2", "ended", "node1"]
    assert said[3] == "    0 rows written: the GPU is gone"
    assert said[-2:] == ["  line 28", "  line 29"]
    refused = command.call("logs", "7", *options, cwd=tmp_path, status=2)
    assert refused.stderr.startswith('error: the run "demo" has no slice 7')
