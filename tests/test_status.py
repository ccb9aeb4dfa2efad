"""How far a run is: from disk, from the queue and from the accounts; a gap becomes a note."""

from __future__ import annotations

import json

import command
import pytest
from fake_slurm import FakeSlurm, finish, name_of, planned

from jobs import slurm
from jobs.errors import UsageError
from jobs.slurm import Slurm
from jobs.status import Status, look
from jobs.submission import read_submissions
from jobs.submit import submit

WIDEST = Status(
    run="r" * 64,
    clips=152_265,
    done=152_265,
    failed_for_good=152_265,
    missing=152_265,
    slices={"done": 1_523, "running": 1_523, "pending": 1_523, "missing": 1_523},
    missing_slices=",".join(str(number) for number in range(0, 1523, 2)),
    failures={"incomplete_decode": (152_265, "a very long name " * 20)},
    elements=dict.fromkeys(
        ("CANCELLED", "COMPLETED", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PENDING", "RUNNING", "TIMEOUT"),
        1_523,
    ),
    merge="OUT_OF_MEMORY",
    notes=("the queue is not known: squeue gave no answer within 60 s: is slurmctld overloaded?",),
)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    cluster = FakeSlurm(tmp_path / "cluster")
    monkeypatch.setenv("PATH", cluster.path)
    return cluster


@pytest.fixture
def run(cluster, tmp_path):
    """Twelve slices in arrays 11 and 12, the merge is 13; the first three are done."""
    run = planned(tmp_path / "runs", 12)
    submit(run.config, Slurm())
    finish(run, 0, 1, 2)
    return run


def in_queue(run, *lines):
    return [(name_of(run), line) for line in lines]


def test_one_look_counts_what_is_done_runs_waits_and_what_nobody_works_on(cluster, run):
    run.fail("c0003.mp4")
    run.fail("c0004.mp4", "timeout", tries=1)
    cluster.set_queue(
        *in_queue(
            run,
            "101|11|4|RUNNING|None|node1",
            "11|11|5|PENDING|JobArrayTaskLimit|",
            "12|12|6|PENDING|Dependency|",
            "12|12|4|PENDING|Dependency|",
            "13|13|N/A|PENDING|Dependency|",
        ),
        ("vmafarm-other", "99|99|7|RUNNING|None|node2"),
    )
    cluster.set_accounting(
        *(f"11_{i}|COMPLETED|node1" for i in range(4)),
        "11_4|RUNNING|node1",
        "11_[5]|PENDING|None assigned",
        "11_6|CANCELLED by 0|None assigned",
        "11_7|FAILED|node1",
        "11_7.0|OUT_OF_MEMORY|node1",
        "11_8|TIMEOUT|node2",
        "13|PENDING|None assigned",
    )
    seen = look(run.config, Slurm())
    assert (seen.run, seen.clips, seen.done, seen.failed_for_good, seen.missing) == ("demo", 12, 3, 1, 8)
    assert seen.slices == {"done": 4, "running": 1, "pending": 2, "missing": 5}
    assert seen.missing_slices == "7-11"
    assert seen.elements == {
        "COMPLETED": 4, "RUNNING": 1, "PENDING": 1, "CANCELLED": 1, "OUT_OF_MEMORY": 1, "TIMEOUT": 1,
    }  # fmt: skip
    assert seen.merge == "PENDING"
    assert seen.failures == {
        "decode_error": (2, "c0003.mp4: cannot take c0003.mp4"),
        "timeout": (1, "c0004.mp4: cannot take c0004.mp4"),
    }
    assert seen.notes == ()
    assert seen.lines() == [
        "run demo",
        "clips      3 of 12 done (25.0%), 8 missing, 1 set aside",
        "slices     4 done, 1 running, 2 pending, 5 missing",
        "elements   1 CANCELLED, 4 COMPLETED, 1 OUT_OF_MEMORY, 1 PENDING, 1 RUNNING, 1",
        "           TIMEOUT",
        "merge      PENDING",
        "failed     decode_error 2: c0003.mp4: cannot take c0003.mp4",
        "failed     timeout 1: c0004.mp4: cannot take c0004.mp4",
        "nobody works on slices 7-11: vmafarm retry",
    ]


def test_squeue_and_sacct_are_asked_once_each(cluster, run):
    before = len(cluster.calls)
    look(run.config, Slurm())
    assert [call.split()[0] for call in cluster.calls[before:]] == ["squeue", "sacct"]


def test_what_status_calls_missing_a_retry_submits(cluster, run):
    cluster.set_queue(*in_queue(run, "11|11|4|RUNNING|None|node1", "12|12|9|PENDING|Dependency|"))
    seen = look(run.config, Slurm())
    assert seen.missing_slices == "3,5-8,10-11"
    assert f": {seen.missing_slices}" in submit(run.config, Slurm(), again=True).lines()[0]


def test_elements_of_an_earlier_submission_count_as_work_too(cluster, run):
    cluster.set_queue(*in_queue(run, "11|11|4|RUNNING|None|node1"))
    retried = submit(run.config, Slurm(), again=True)
    assert [record.number for record in read_submissions(run.folder)] == [1, 2]
    job = retried.submission.arrays[0].job
    cluster.set_queue(*in_queue(run, "11|11|4|RUNNING|None|node1", f"{job}|{job}|0|RUNNING|None|node2"))
    seen = look(run.config, Slurm())
    assert seen.slices == {"done": 3, "running": 2, "pending": 0, "missing": 7}
    assert seen.missing_slices == "5-11"
    assert seen.elements == {"RUNNING": 1}


def test_a_run_that_was_never_submitted_is_counted_from_disk_and_slurm_is_not_asked(cluster, tmp_path):
    run = planned(tmp_path / "local", 4)
    finish(run, 1)
    seen = look(run.config, Slurm())
    assert (seen.done, seen.missing, seen.missing_slices, seen.notes) == (1, 3, "", ())
    assert cluster.calls == []


def test_a_complete_run_has_nothing_missing(cluster, run):
    finish(run, *range(12))
    seen = look(run.config, Slurm())
    assert seen.slices == {"done": 12, "running": 0, "pending": 0, "missing": 0}
    assert seen.lines()[:3] == [
        "run demo",
        "clips      12 of 12 done (100.0%), 0 missing, 0 set aside",
        "slices     12 done",
    ]


def test_without_slurm_it_is_told_from_disk_and_nothing_is_said_of_who_works(cluster, run):
    seen = look(run.config, None)
    assert (seen.done, seen.missing, seen.missing_slices, seen.elements) == (3, 9, "", {})
    (note,) = seen.notes
    assert note == "this machine has no SLURM (squeue): what waits or runs is not known here"
    assert not any("nobody works" in line for line in seen.lines())


def test_without_accounting_the_queue_still_counts(cluster, run):
    cluster.fail("sacct", "Slurm accounting storage is disabled")
    cluster.set_queue(*in_queue(run, "11|11|4|RUNNING|None|node1"))
    seen = look(run.config, Slurm())
    assert seen.slices["running"] == 1
    assert seen.missing_slices == "3,5-11"
    assert seen.notes == ("no accounting (sacct): what ended, and how, is known from disk alone",)


@pytest.mark.parametrize("message", ["Unable to contact slurm controller", "Munge encode failed"])
def test_a_failing_squeue_is_a_note_and_the_accounts_still_count(cluster, run, message):
    cluster.fail("squeue", message)
    cluster.set_accounting("11_4|RUNNING|node1", "11_5|COMPLETED|node1")
    seen = look(run.config, Slurm())
    assert (seen.done, seen.missing, seen.missing_slices) == (3, 9, "")
    assert seen.elements == {"RUNNING": 1, "COMPLETED": 1}
    assert seen.notes == (f"the queue is not known: squeue failed: {message}",)


def test_a_squeue_that_gives_no_answer_is_a_note(cluster, run, monkeypatch):
    monkeypatch.setattr(slurm, "ANSWER_SECONDS", 0.2)
    cluster.answer_late("squeue")
    (note,) = look(run.config, Slurm()).notes
    assert note.startswith("the queue is not known: squeue gave no answer")


def test_jobs_that_no_submission_has_noted_are_told(cluster, run):
    cluster.set_queue(*in_queue(run, "99|99|0|RUNNING|None|node1"))
    assert look(run.config, Slurm()).notes == (
        "jobs that no submission has noted: 99; vmafarm cancel ends them",
    )


def test_no_line_is_wider_than_a_terminal():
    lines = WIDEST.lines()
    assert all(len(line) <= 80 for line in lines), lines
    assert "is slurmctld overloaded?" in " ".join(line.strip() for line in lines)
    assert "nobody works on slices 0,2,4,6,8,10,12,14,16,18,20,22,24,...: vmafarm retry" in lines


def test_names_with_control_characters_do_not_reach_the_terminal(cluster, run):
    run.fail("c\n\x1b[2J.mp4")
    assert all(line.isprintable() for line in look(run.config, Slurm()).lines())


def test_json_has_the_counts_of_the_table():
    document = json.loads(json.dumps(WIDEST.as_dict()))
    assert document["missing_slices"] == WIDEST.missing_slices
    assert document["slices"] == WIDEST.slices
    assert document["failures"]["incomplete_decode"][0] == 152_265
    assert document.keys() == vars(WIDEST).keys()


def test_a_run_that_is_not_planned_is_refused(cluster, tmp_path):
    run = planned(tmp_path / "local", 4)
    run.folder.manifest.unlink()
    with pytest.raises(UsageError):
        look(run.config, Slurm())


def test_the_command_prints_the_table_and_the_same_as_json(cluster, tmp_path):
    (tmp_path / "clips").mkdir()
    names = ["a.mp4", "b.mp4", "c.mp4"]
    for name in names:
        (tmp_path / "clips" / name).write_bytes(b"x" * 10)
    command.write_scores(tmp_path / "scores.csv", names)
    command.vmafarm("submit", *command.corpus("--set", "slices.count=3"), cwd=tmp_path)
    table = command.vmafarm("status", cwd=tmp_path).stdout.splitlines()
    seen = json.loads(command.vmafarm("status", "--json", cwd=tmp_path).stdout)
    assert (
        table[1]
        == f"clips      {seen['done']} of {seen['clips']} done (0.0%), {seen['missing']} missing, 0 set aside"
    )
    assert table[2] == f"slices     {seen['slices']['missing']} missing"
    assert table[3] == f"nobody works on slices {seen['missing_slices']}: vmafarm retry"
    refused = command.vmafarm("status", "--run", "other", cwd=tmp_path, status=2)
    assert refused.stderr.startswith("error: ")
    cluster.fail("squeue", "Unable to contact slurm controller")
    assert "the queue is not known" in command.vmafarm("status", cwd=tmp_path).stdout
