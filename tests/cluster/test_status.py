"""How far a run is: from disk, from the queue and from the accounts; a gap becomes a note."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from support import command
from support.fake_slurm import finish, name_of, planned, write_log, write_record
from support.merge_helpers import make_row

from vmafarm.cluster import job_states, slurm_programs
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.status import SLICE_STATES, StatusReader, read_status
from vmafarm.cluster.submit import submit
from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.disk.jsonl import json_line
from vmafarm.publish import merge_on_node
from vmafarm.run_folder.broken_nodes import mark_broken
from vmafarm.run_folder.merge_jobs import MergeJobLog, merge_job_path
from vmafarm.run_folder.submissions import Array, Submission, new_submission, note_job, read_submissions
from vmafarm.shards import writer as shard
from vmafarm.sql.templates import sql_folder

NO_ACCOUNTS = "no accounting (sacct): how elements ended is known from disk only"


@pytest.fixture
def run(cluster, tmp_path):
    """Twelve slices in arrays 11 and 12, the merge is 13; the first three are done."""
    run = planned(tmp_path / "runs", 12)
    submit(run.config, Slurm())
    finish(run, 0, 1, 2)
    return run


def in_queue(run, *lines):
    return [(name_of(run), line) for line in lines]


def slices(**counts):
    return dict.fromkeys(SLICE_STATES, 0) | counts


def without_checks(run):
    """A merge draws no report then."""
    merge = run.config.merge.model_copy(update={"checks": False})
    run.config = run.config.model_copy(update={"merge": merge})


def no_accounts(cluster):
    cluster.fail("sacct", "Slurm accounting storage is disabled")


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
            "15|15|N/A|PENDING|Dependency|",
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
        "11_9|NODE_FAIL|node2",
        "11_10|PREEMPTED|node2",
        "15|PENDING|None assigned",
    )
    seen = read_status(run.config, Slurm())
    assert (seen.run, seen.clips, seen.done, seen.failed_for_good, seen.missing) == ("demo", 12, 3, 1, 8)
    assert seen.slices == slices(done=4, running=1, pending=2, failed=5)
    assert seen.missing_slices == "7-11"
    assert seen.elements == {
        "COMPLETED": 4, "RUNNING": 1, "PENDING": 1, "CANCELLED": 1, "OUT_OF_MEMORY": 1, "TIMEOUT": 1,
        "NODE_FAIL": 1, "PREEMPTED": 1, "NOT_STARTED": 1,
    }  # fmt: skip
    assert (seen.merge.job, seen.merge.state, seen.merge.reasons) == ("15", "PENDING", ())
    assert seen.failures == {
        "decode_error": (2, "c0003.mp4: cannot take c0003.mp4"),
        "timeout": (1, "c0004.mp4: cannot take c0004.mp4"),
    }
    assert (seen.working, seen.notes) == (True, ())


def test_squeue_and_sacct_are_asked_once_each(cluster, run):
    before = len(cluster.calls)
    read_status(run.config, Slurm())
    assert [call.split()[0] for call in cluster.calls[before:]] == ["squeue", "sacct"]


def test_what_status_says_a_retry_would_submit_it_submits(cluster, run):
    cluster.set_queue(*in_queue(run, "11|11|4|RUNNING|None|node1", "12|12|9|PENDING|Dependency|"))
    seen = read_status(run.config, Slurm())
    assert seen.missing_slices == "3,5-8,10-11"
    assert seen.slices["failed"] == 7
    assert f": {seen.missing_slices}" in submit(run.config, Slurm(), again=True).lines()[0]


def test_a_submission_that_ended_before_its_merge_is_reported_until_the_table_exists(cluster, tmp_path):
    run = planned(tmp_path / "runs", 2)
    cluster.fail("sbatch-13", "sbatch: error: no")
    with pytest.raises(UnavailableError):
        submit(run.config, Slurm())
    cluster.set_queue(*in_queue(run, "11|11|0|RUNNING|None|node1", "12|12|0|PENDING|Dependency|"))
    (note,) = read_status(run.config, Slurm()).notes
    assert note.startswith("no merge is queued behind 11, 12: ")
    assert "vmafarm cancel" in note
    cluster.set_queue()
    finish(run, 0, 1)
    assert read_status(run.config, Slurm()).notes == (note,)
    without_checks(run)
    merge_on_node(run.config.model_dump())
    assert read_status(run.config, Slurm()).notes == ()


def test_a_later_round_that_runs_has_its_share_of_the_slices_running(cluster, tmp_path):
    run = planned(tmp_path / "runs", 12, parallelism=4)
    submit(run.config, Slurm())
    finish(run, 0, 1)
    cluster.set_queue(*in_queue(run, "12|12|1|RUNNING|None|node1", "12|12|2|PENDING|Resources|"))
    seen = read_status(run.config, Slurm())  # element 1 has slices 1, 5 and 9; element 2 has 2, 6 and 10
    assert seen.slices == slices(done=2, running=2, pending=3, failed=5)
    assert seen.missing_slices == "3-4,7-8,11"
    assert (seen.elements["RUNNING"], seen.elements["PENDING"]) == (1, 1)


def test_slices_that_no_submission_had_are_new_and_a_retry_would_submit_them_too(cluster, run):
    new_submission(run.folder, Submission(1, name_of(run), tuple((i,) for i in range(9)), "", "", "", "", {}))
    jobs = run.folder.submissions / "00001.jobs"
    jobs.write_text(jobs.read_text().replace('"count":12', '"count":9'))
    cluster.set_queue(*in_queue(run, "11|11|4|RUNNING|None|node1"))
    seen = read_status(run.config, Slurm())
    assert seen.slices == slices(done=3, running=1, failed=5, new=3)
    assert seen.missing_slices == "3,5-11"


def test_while_a_canary_runs_all_slices_wait_and_are_new_again_after_it(cluster, tmp_path):
    run = planned(tmp_path / "runs", 4)
    every = ((0, 1, 2, 3),)
    new_submission(run.folder, Submission(1, name_of(run), every, "", "", "", "", {}, canary=True))
    note_job(run.folder, 1, vars(Array("10", 0, 0, 1)))
    cluster.set_queue(*in_queue(run, "10|10|N/A|RUNNING|None|node1"))
    write_record(run, "10", None, [0, 1, 2, 3], ended=False)
    seen = read_status(run.config, Slurm())
    assert seen.slices == slices(pending=4)
    assert (seen.missing_slices, seen.elements, seen.merge) == ("", {"RUNNING": 1}, None)
    cluster.set_queue()
    seen = read_status(run.config, Slurm())
    assert seen.slices == slices(new=4)
    assert (seen.missing_slices, seen.elements) == ("0-3", {"KILLED": 1})


def test_elements_of_an_earlier_submission_count_as_work_too(cluster, run):
    no_accounts(cluster)
    cluster.set_queue(*in_queue(run, "11|11|4|RUNNING|None|node1"))
    retried = submit(run.config, Slurm(), again=True)
    assert [record.number for record in read_submissions(run.folder)] == [1, 2]
    job = retried.submission.arrays[0].job
    cluster.set_queue(*in_queue(run, "11|11|4|RUNNING|None|node1", f"{job}|{job}|0|RUNNING|None|node2"))
    seen = read_status(run.config, Slurm())
    assert seen.slices == slices(done=3, running=2, failed=7)
    assert seen.missing_slices == "5-11"
    assert seen.elements == {"RUNNING": 1, "NOT_STARTED": 7}


def test_a_run_that_was_never_submitted_is_counted_from_disk_and_slurm_is_not_asked(cluster, tmp_path):
    run = planned(tmp_path / "local", 4)
    finish(run, 1)
    seen = read_status(run.config, Slurm())
    assert (seen.done, seen.missing, seen.missing_slices, seen.notes) == (1, 3, "", ())
    assert (seen.slices, seen.working) == (slices(done=1, new=3), False)
    assert cluster.calls == []


def test_a_complete_run_has_nothing_missing(cluster, run):
    finish(run, *range(12))
    seen = read_status(run.config, Slurm())
    assert (seen.slices, seen.missing, seen.missing_slices) == (slices(done=12), 0, "")


def test_without_slurm_the_status_comes_from_disk_and_omits_what_is_running(cluster, run):
    seen = read_status(run.config, None)
    assert (seen.done, seen.missing, seen.missing_slices, seen.elements) == (3, 9, "", {})
    assert (seen.slices, seen.working) == (slices(done=3, unknown=9), None)
    (note,) = seen.notes
    assert note == "this machine has no SLURM (squeue): what waits or runs is unknown here"


def test_without_accounting_the_records_on_disk_say_how_elements_ended(cluster, run):
    no_accounts(cluster)
    cluster.set_queue(*in_queue(run, "11|11|4|RUNNING|None|node1"))
    for index in (0, 1, 2):
        write_record(run, "11", index, [index])
    write_record(run, "11", 3, [3], exit_code=1, message="too little time was left for another clip")
    write_record(run, "11", 4, [4], ended=False)
    write_record(run, "11", 5, [5], ended=False)
    write_record(run, "11", 6, [6], minutes=20, exit_code=1)
    write_record(run, "11", 6, [6], minutes=5)  # requeued, and then it came to its end
    seen = read_status(run.config, Slurm())
    assert seen.slices == slices(done=3, running=1, failed=8)
    assert seen.missing_slices == "3,5-11"
    assert seen.elements == {"COMPLETED": 4, "FAILED": 1, "KILLED": 1, "NOT_STARTED": 5, "RUNNING": 1}
    assert seen.messages == ((1, "too little time was left for another clip"),)
    assert seen.notes == (NO_ACCOUNTS,)


def test_accounts_go_before_records_but_not_before_the_queue(cluster, run):
    """A lost node's job stays RUNNING in the accounts; squeue has it no more."""
    write_record(run, "11", 5, [5], ended=False)
    write_record(run, "11", 6, [6], ended=False)
    cluster.set_accounting("11_5|RUNNING|node1", "11_6|NODE_FAIL|node1")
    seen = read_status(run.config, Slurm())
    assert (seen.elements["KILLED"], seen.elements["NODE_FAIL"]) == (1, 1)
    assert "RUNNING" not in seen.elements
    assert seen.slices["running"] == 0


def test_messages_of_elements_are_counted_by_kind_with_accounting_too(cluster, run):
    cluster.set_accounting(*(f"11_{i}|COMPLETED|node1" for i in range(12)))
    for index in range(2):
        write_record(run, "11", index, [index], exit_code=3, message=f"no space left for /s/{index}: full")
    write_record(run, "11", 2, [2], exit_code=1, stopped=True)
    seen = read_status(run.config, Slurm())
    assert seen.elements == {"COMPLETED": 12}
    assert {count for count, _ in seen.messages} == {2, 1}
    assert {m for _, m in seen.messages} <= {
        "no space left for /s/0: full", "no space left for /s/1: full", "stopped before its work was done",
    }  # fmt: skip


def test_accounts_that_do_not_exist_are_asked_once_and_others_again(cluster, run):
    reader = StatusReader(run.config, Slurm())
    cluster.fail("sacct", "Connection refused")
    assert reader.read().notes == ("accounting is unavailable: sacct failed: Connection refused",)
    no_accounts(cluster)
    before = len(cluster.calls)
    assert [reader.read().notes for _ in range(3)] == [(NO_ACCOUNTS,)] * 3
    assert [call.split()[0] for call in cluster.calls[before:]] == ["squeue", "sacct", "squeue", "squeue"]


@pytest.mark.parametrize("message", ["Unable to contact slurm controller", "Munge encode failed"])
def test_a_failing_squeue_is_a_note_and_nothing_is_said_of_who_works(cluster, run, message):
    cluster.fail("squeue", message)
    cluster.set_accounting("11_4|RUNNING|node1", "11_5|COMPLETED|node1")
    write_record(run, "11", 6, [6], ended=False)
    seen = read_status(run.config, Slurm())
    assert (seen.done, seen.missing, seen.missing_slices, seen.working) == (3, 9, "", None)
    assert seen.slices == slices(done=3, unknown=9)
    assert seen.elements == {"RUNNING": 1, "COMPLETED": 1}
    assert seen.notes == (f"the queue is unknown: squeue failed: {message}",)


def test_of_a_multi_line_error_the_last_line_is_shown(cluster, run):
    cluster.fail("squeue", "squeue: error: first\nsqueue: error: second\nsqueue: fatal: no configuration")
    assert read_status(run.config, Slurm()).notes == (
        "the queue is unknown: squeue failed: squeue: fatal: no configuration",
    )


@pytest.mark.parametrize("late", [True, False], ids=["hangs", "fails after long"])
def test_accounting_is_not_asked_where_the_queue_hung_or_authentication_failed(
    cluster, run, monkeypatch, late
):
    if late:
        monkeypatch.setattr(slurm_programs, "ANSWER_SECONDS", 0.2)
        cluster.answer_late("squeue")
    else:  # as without munge, where squeue tries again for a minute
        monkeypatch.setattr(job_states, "PATIENCE_SECONDS", 0)
        cluster.fail("squeue", "squeue: error: Munge encode failed")
    before = len(cluster.calls)
    notes = read_status(run.config, Slurm()).notes
    assert [call.split()[0] for call in cluster.calls[before:]] == ["squeue"]
    assert notes[0].startswith("the queue is unknown: squeue ")
    assert notes[1] == "accounting was not asked: it would take as long"


def test_jobs_that_no_submission_recorded_are_reported(cluster, run):
    cluster.set_queue(*in_queue(run, "99|99|0|RUNNING|None|node1"))
    seen = read_status(run.config, Slurm())
    assert seen.notes == ("jobs that no submission recorded: 99; vmafarm cancel ends them",)
    assert seen.working is True


def test_rate_and_time_left_count_from_where_the_submission_began(cluster, tmp_path):
    run = planned(tmp_path / "runs", 12)
    finish(run, 0, 1, 2, 3)  # before it was submitted
    submit(run.config, Slurm())
    finish(run, 4, 5, 6)
    write_record(run, "11", 0, [4], minutes=10)
    write_record(run, "11", 1, [5], minutes=5)
    write_record(run, "9", 1, [5], minutes=500)  # of another submission
    cluster.set_queue(*in_queue(run, "11|11|3|RUNNING|None|node1"))
    seen = read_status(run.config, Slurm())
    assert seen.clips_per_second == pytest.approx(3 / 600, rel=0.05)
    assert seen.seconds_left == pytest.approx(5 * 200, rel=0.05)


@pytest.mark.parametrize("line", ["11|11|3|PENDING|Resources|", "15|15|N/A|RUNNING|None|node1", None])
def test_there_is_no_rate_where_no_element_runs(cluster, run, line):
    write_record(run, "11", 0, [0])
    cluster.set_queue(*in_queue(run, *([line] if line else [])))
    seen = read_status(run.config, Slurm())
    assert (seen.clips_per_second, seen.seconds_left) == (None, None)


def test_excluded_nodes_are_shown_with_the_reason(cluster, run):
    mark_broken(run.folder, "node7", "the engine fails")
    (broken,) = read_status(run.config, Slurm()).broken_nodes
    assert (broken.node, broken.message) == ("node7", "the engine fails")


def run_merge_job(run, monkeypatch, status=None):
    """Job 15 as its node runs it; `status`: the one with which it exits."""
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    if status is None:
        return merge_on_node(run.config.model_dump())
    with pytest.raises(SystemExit) as ended:
        merge_on_node(run.config.model_dump())
    assert ended.value.code == status
    return None


def test_a_merge_that_published_nothing_says_why(cluster, run, monkeypatch):
    cluster.set_accounting("15|FAILED|node1")
    run_merge_job(run, monkeypatch, status=1)
    merge = read_status(run.config, Slurm()).merge
    assert (merge.state, merge.published) == ("FAILED", False)
    (reason,) = merge.reasons
    assert reason.startswith("missing: 9 of 12 clips")


@pytest.mark.parametrize("begun", [True, False], ids=["begun", "an early version"])
def test_of_a_merge_that_was_killed_the_log_is_named(cluster, run, monkeypatch, begun):
    no_accounts(cluster)
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    if begun:
        MergeJobLog(run.folder)
    log = write_log(run, "15", "err", "slurmstepd: error: Detected 1 oom-kill event(s)\n")
    merge = read_status(run.config, Slurm()).merge
    assert (merge.state, merge.published) == ("ENDED", False)
    assert merge.reasons == (f"it left no record of its end; its log: {log}, and .out",)


def test_a_merge_says_nothing_more_once_the_table_is_there(cluster, run, monkeypatch):
    cluster.set_accounting("15|FAILED|node1")
    run_merge_job(run, monkeypatch, status=1)
    run.folder.table.write_bytes(b"")
    os.utime(run.folder.table, (0, 0))  # of an earlier merge
    assert read_status(run.config, Slurm()).merge.reasons
    os.utime(merge_job_path(run.folder, "15"), (0, 0))  # published by hand since
    merge = read_status(run.config, Slurm()).merge
    assert (merge.published, merge.reasons) == (True, ())


def test_a_merge_that_a_check_refuses_is_shown_with_the_check(cluster, run, monkeypatch):
    finish(run, *range(3, 12))
    audit = {"audit": "differs", "notes": "audit: vif_scale0 is 0.9 on frame 0", "seconds_other_plan": 9.0}
    run.log_clips({"c0003.mp4": 1.0}, 3, **audit)
    run_merge_job(run, monkeypatch, status=1)  # the job counts as failed
    cluster.set_accounting("15|FAILED|node1")
    status = read_status(run.config, Slurm())
    assert not status.published
    assert not status.merge.published
    (reason,) = status.merge.reasons
    assert reason.startswith("audits: 1 row: c0003.mp4")


def test_a_table_on_which_a_check_could_not_run_is_shown_with_the_check(cluster, run, monkeypatch, tmp_path):
    finish(run, *range(3, 12))
    folder = shutil.copytree(sql_folder() / "qa", tmp_path / "sql" / "qa")
    header = ("name: own", "severity: warn", "returns: offenders", "expected: x", "why: y")
    text = "".join(f"-- {line}\n" for line in header) + "SELECT other FROM features"
    (folder / "99_own.sql").write_text(text)
    monkeypatch.setattr("vmafarm.query.checks.sql_folder", lambda: folder.parent)
    run_merge_job(run, monkeypatch, status=1)
    cluster.set_accounting("15|FAILED|node1")
    status = read_status(run.config, Slurm())
    assert status.published
    assert not status.is_good
    assert status.merge.published
    (reason,) = status.merge.reasons
    assert reason.startswith("own: ")


def test_a_merge_that_published_its_table_says_so_whatever_it_has_printed(cluster, run, monkeypatch):
    finish(run, *range(3, 12))
    without_checks(run)
    run_merge_job(run, monkeypatch)
    os.utime(run.folder.table, (0, 0))
    status = read_status(run.config, None)  # nor does it take SLURM
    assert (status.merge.state, status.merge.published, status.merge.reasons) == ("ENDED", True, ())
    assert status.is_good


def test_a_merge_that_still_runs_is_not_judged(cluster, run, monkeypatch):
    run_merge_job(run, monkeypatch, status=1)
    cluster.set_queue(*in_queue(run, "15|15|N/A|RUNNING|None|node1"))  # it was requeued
    merge = read_status(run.config, Slurm()).merge
    assert (merge.state, merge.reasons) == ("RUNNING", ())


def test_a_second_look_reads_only_what_has_changed(cluster, run, monkeypatch):
    reader = StatusReader(run.config, None)
    assert reader.read().done == 3
    read = []

    def spied(original):
        return lambda path, *more: read.append(path.parent.name) or original(path, *more)

    monkeypatch.setattr(shard, "read_journal", spied(shard.read_journal))
    monkeypatch.setattr(shard, "read_columns", spied(shard.read_columns))
    assert reader.read().done == 3
    assert read == []
    finish(run, 5)
    journal = run.journal([], 6)
    assert reader.read().done == 4
    assert read == ["slice-00005", "slice-00006"]
    run.journal([make_row("c0006.mp4")], 6)
    assert reader.read().done == 5
    journal.unlink()
    assert reader.read().done == 4


def test_a_record_that_is_cut_in_the_middle_is_left_out(cluster, run):
    write_record(run, "11", 0, [0])
    (run.folder.elements / "11-1-x.jsonl").write_bytes(json_line({"writer": "w"})[:-5])
    assert read_status(run.config, Slurm()).elements["COMPLETED"] == 1


def test_a_run_that_is_not_planned_is_refused(cluster, tmp_path):
    run = planned(tmp_path / "local", 4)
    run.folder.manifest.unlink()
    with pytest.raises(UsageError):
        read_status(run.config, Slurm())


def test_the_command_prints_the_table_and_the_same_as_json(cluster, tmp_path):
    (tmp_path / "clips").mkdir()
    names = ["a.mp4", "b.mp4", "c.mp4"]
    for name in names:
        (tmp_path / "clips" / name).write_bytes(b"x" * 10)
    command.write_scores(tmp_path / "scores.csv", names)
    command.call("submit", *command.corpus("--set", "slices.count=3"), cwd=tmp_path)
    table = command.call("status", cwd=tmp_path).stdout.splitlines()
    seen = json.loads(command.call("status", "--json", cwd=tmp_path).stdout)
    assert table[1] == (
        f"clips      {seen['done']} of {seen['clips']} done (0.0%), {seen['missing']} missing, "
        "0 failed for good"
    )
    assert table[3:5] == [f"slices     {seen['slices']['failed']} failed x", " " * 11 + "xxx"]
    assert f"retry      would submit slices {seen['missing_slices']}: vmafarm retry" in table
    refused = command.call("status", "--run", "other", cwd=tmp_path, status=2)
    assert refused.stderr.startswith("error: ")
    watched = command.call("status", "--watch", "--every", "1", cwd=tmp_path, status=1)
    assert watched.stdout.splitlines()[1:] == table[1:]
    cluster.fail("squeue", "Unable to contact slurm controller")
    assert "the queue is unknown" in command.call("status", cwd=tmp_path).stdout
