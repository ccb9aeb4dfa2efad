"""What is left to a retry: what nobody works on, clips that want another node, and what cancel takes."""

from __future__ import annotations

import pytest
from support.fake_slurm import finish, name_of, planned, write_log, write_record
from support.submitting import queued, refusal, slices_of

from vmafarm.cluster import submit as submit_module
from vmafarm.cluster.clusters import cancel
from vmafarm.cluster.slice_logs import slice_logs
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.status import read_status
from vmafarm.cluster.submit import NothingToSubmitError, preview, submit
from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.run_folder.broken_nodes import mark_broken
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.submissions import Array, Submission, new_submission, note_job, read_submissions


def test_a_retry_submits_exactly_what_is_missing_and_nobody_works_on(cluster, runs):
    run = planned(runs, 12)
    submit(run.config, Slurm())
    first = (run.folder.submissions / "00001.json").read_bytes()
    finish(run, 0, 1, 2, 10, 11)
    cluster.set_queue(*queued(run, 4, 5), *queued(run, 6, job="12", state="PENDING"))
    submitted = submit(run.config, Slurm(), again=True)
    assert submitted.lines()[0] == "submitted 4 slices: 3,7-9"
    assert submitted.submission.number == 2
    assert cluster.options("16")["array"] == "0-3%4"
    assert slices_of(cluster, "16", 4) == [3, 7, 8, 9]
    assert cluster.options("20")["dependency"] == "afterany:16:17:18:19"
    assert (run.folder.submissions / "00001.json").read_bytes() == first


def test_clips_that_failed_on_one_node_go_to_another_in_jobs_of_their_own(cluster, runs):
    run = planned(runs, 6)
    finish(run, 0, 1)
    run.fail("c0002.mp4", host="node3")
    run.fail("c0003.mp4", "engine_error", host="node3")
    run.fail("c0004.mp4", host="node1")
    submitted = submit(run.config, Slurm(), again=True)
    assert submitted.lines()[:2] == [
        "submitted 1 slice: 5",
        "3 clips that failed on one node only: submitted to a node other than node3",
    ]
    assert slices_of(cluster, "11", 1) == [5]
    looks = [spec for job in ("13", "14") for spec in cluster.specs(job)]
    assert [look.share for look in looks] == ["elsewhere", "last look"]
    assert all(set(look.slices) >= {2, 3, 4} for look in looks)
    assert cluster.options("13")["exclude"] == "node3"
    assert "exclude" not in cluster.options("14")  # the starter of 13 tells it, once 13 has a node
    assert "--next-look" in cluster.scripts["13"]
    assert "--next-look" not in cluster.scripts["11"] + cluster.scripts["14"]
    cluster.set_queue((name_of(run), "13|13|N/A|PENDING|Dependency|"))
    assert refusal(NothingToSubmitError, submit, run.config, Slurm(), again=True).message.endswith(
        "slices 2-5"
    )


def test_where_only_such_clips_are_missing_nothing_else_is_submitted(cluster, runs):
    run = planned(runs, 3, exclude="node4")
    finish(run, 0, 1)
    run.fail("c0002.mp4", host="node1")
    run.take_part("node2")
    submitted = submit(run.config, Slurm(), again=True)
    assert list(cluster.scripts) == ["11", "12", "13"]
    assert submitted.submission.slices == (2,)
    assert cluster.options("11")["exclude"] == "node4,node1"
    assert "dependency" not in cluster.options("11")
    assert cluster.options("12")["dependency"] == "afterany:11"
    assert cluster.options("13")["dependency"] == "afterany:11:12"


@pytest.mark.parametrize(
    "nodes",
    [
        ("node1",),
        ("node1", "node4"),
        ("node2", "node3"),
        ("node1|8|64000|gpu:a100:1|(null)", "node2"),
        ("node1|32|64000|(null)|nvme", "node2", "node3"),
        ("node1|32|128000|(null)|(null)", "node2"),
    ],
)
def test_no_node_is_excluded_that_no_other_one_of_its_kind_can_replace(cluster, runs, nodes):
    cluster.set_nodes(*nodes)
    run = planned(runs, 3, exclude="node4")
    finish(run, 0, 1)
    run.fail("c0002.mp4", host="node1")
    run.take_part("here")
    submit(run.config, Slurm(), again=True)
    assert cluster.options("11")["exclude"] == "node4"
    (asked,) = [call for call in cluster.calls if "--Node" in call]
    assert "--partition=cpu " in asked  # the default, by its name


def test_a_cluster_of_one_node_gets_one_look_and_a_tight_limit_none(cluster, runs):
    cluster.set_partitions("cpu|cpu*|infinite|32|1|(null)")
    run = planned(runs, 3)
    assert submit(run.config, Slurm()).looks == ("last look",)
    assert len(cluster.scripts) == 4
    tight = planned(runs.parent / "tight", 3, max_jobs=3)
    tight.fail("c0002.mp4", host="node1")
    tight.take_part("node2")
    submitted = submit(tight.config, Slurm())
    assert (submitted.looks, submitted.submission.slices) == ((), (0, 1, 2))
    assert {array.share for array in submitted.submission.arrays} == {"everything"}


def test_clips_that_failed_for_good_are_not_missing(cluster, runs):
    run = planned(runs, 3)
    finish(run, 0)
    run.fail("c0001.mp4")
    assert submit(run.config, Slurm()).submission.slices == (2,)


def test_submit_is_refused_while_the_run_is_in_the_queue(cluster, runs):
    run = planned(runs)
    submit(run.config, Slurm())
    cluster.set_queue(*queued(run, 0, 2, 3))
    error = refusal(UsageError, submit, run.config, Slurm())
    assert error.message == 'the run "demo" is in the queue already: slices 0,2-3'
    assert "vmafarm retry" in error.hint
    assert len(cluster.scripts) == 5


def test_nothing_is_submitted_where_nothing_is_missing(cluster, runs):
    run = planned(runs, 2)
    finish(run, 0)
    run.fail("c0001.mp4")
    for again in (False, True):
        error = refusal(NothingToSubmitError, submit, run.config, Slurm(), again=again)
        assert error.message.startswith('nothing is missing: every clip of "demo"')
        assert "vmafarm merge --run demo" in error.hint
    assert not cluster.scripts


def test_two_runs_of_one_name_do_not_see_each_others_jobs(cluster, tmp_path):
    here, there = planned(tmp_path / "here"), planned(tmp_path / "there")
    submit(here.config, Slurm())
    submit(there.config, Slurm())
    assert name_of(here) != name_of(there)
    cluster.set_queue(*queued(here, 0, 1))
    assert submit(there.config, Slurm()).submission.slices == (0, 1, 2, 3, 4)
    assert refusal(UsageError, submit, here.config, Slurm())


def test_cancel_takes_this_runs_jobs_only(cluster, tmp_path):
    here, there = planned(tmp_path / "here"), planned(tmp_path / "there")
    merge = (name_of(here), "9|9|N/A|PENDING|Dependency|")
    cluster.set_queue(
        *((name_of(here), f"11|11|{i}|RUNNING|None|node1") for i in range(3)),
        merge,
        (name_of(there), "12|12|0|RUNNING|None|node1"),
    )
    assert cancel(here.config) == ["9", "11"]
    assert [call for call in cluster.calls if call.startswith("scancel")] == ["scancel 9 11"]
    cluster.set_queue()
    assert cancel(here.config) == []
    assert len([call for call in cluster.calls if call.startswith("scancel")]) == 1


def test_several_arrays_of_a_round_as_earlier_versions_queued_them_are_still_read(cluster, runs):
    run = planned(runs)
    elements = tuple((number,) for number in range(5))
    new_submission(run.folder, Submission(1, name_of(run), elements, "1.0", "", "", "ffmpeg", {}))
    for array in (Array("11", 0, 0, 2), Array("12", 0, 2, 3), Array("13", 1, 0, 2)):
        note_job(run.folder, 1, vars(array))
    note_job(run.folder, 1, {"merge_job": "14"})
    cluster.set_queue(
        *((name_of(run), f"{task}|PENDING|Dependency|") for task in ("13|13|0", "14|14|N/A")),
        (name_of(run), "12|12|1|RUNNING|None|node1"),
    )
    write_record(run, "12", 1, [3], ended=False)
    write_log(run, "12_1", "err", "at work")
    seen = read_status(run.config, Slurm())
    assert (seen.states, seen.elements) == ("pfprp", {"NOT_STARTED": 4, "RUNNING": 1})
    logs = slice_logs(run.config, Slurm(), 3, 5)
    assert [task.name for task in logs.tasks] == ["12_1"]
    preview(run.config, Slurm(), load_manifest(run.folder), again=True)
    assert submit(run.config, Slurm(), again=True).submission.slices == (1,)
    assert cancel(run.config) == ["12", "13", "14"]


def test_jobs_of_a_shell_that_died_before_it_noted_them_are_found_by_their_name(cluster, runs, monkeypatch):
    run = planned(runs)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(submit_module, "note_job", die)
        submit(run.config, Slurm())
    assert list(cluster.scripts) == ["11"]
    assert [record.jobs() for record in read_submissions(run.folder)] == [[]]
    cluster.set_queue(*queued(run, 0, 1))
    for again in (False, True):
        error = refusal(UsageError, submit, run.config, Slurm(), again=again)
        assert error.message == 'jobs of "demo" are in the queue that no submission recorded: 11'
        assert "vmafarm cancel, then vmafarm retry" in error.hint
    assert cancel(run.config) == ["11"]
    cluster.set_queue()
    submitted = submit(run.config, Slurm(), again=True)
    assert (submitted.submission.number, submitted.submission.slices) == (2, (0, 1, 2, 3, 4))


def test_a_retry_of_a_run_whose_merge_was_never_queued_says_so(cluster, runs):
    run = planned(runs)
    cluster.fail("sbatch-13", "sbatch: error: no")
    refusal(UnavailableError, submit, run.config, Slurm())
    cluster.set_queue(*queued(run, *range(5)))
    error = refusal(NothingToSubmitError, submit, run.config, Slurm(), again=True)
    assert error.message == "everything that is missing waits or runs: slices 0-4"
    assert error.hint.startswith("no merge is queued behind 11, 12: ")
    assert "vmafarm cancel, then vmafarm retry" in error.hint


def test_nodes_that_failed_are_excluded_from_then_on(cluster, runs):
    run = planned(runs, exclude="node[1-2]")
    mark_broken(run.folder, "node7", "no driver")
    mark_broken(run.folder, "node5", "a full disk")
    submit(run.config, Slurm())
    assert cluster.options("11")["exclude"] == "node[1-2],node5,node7"
    assert "--max-broken 2 --exclude 'node[1-2],node5,node7'" in cluster.scripts["11"]


def test_where_many_nodes_fail_the_nodes_are_not_to_blame(cluster, runs):
    run = planned(runs)
    for node in ("node1", "node2", "node3"):  # of eight
        mark_broken(run.folder, node, "no such model")
    error = refusal(UsageError, submit, run.config, Slurm())
    assert error.message.startswith(
        "3 nodes have failed, more than 2: the nodes are probably not to blame; no"
    )
    assert "no such model" in error.message
    assert str(run.folder.broken_nodes) in error.hint
    assert not cluster.scripts
