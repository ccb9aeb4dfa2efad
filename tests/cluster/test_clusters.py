"""A login node that serves several clusters, each of which counts its jobs from 1."""

from __future__ import annotations

import pytest
from support.fake_slurm import name_of, planned, write_log, write_record

from vmafarm.cluster.clusters import cancel, slurm_of
from vmafarm.cluster.slice_logs import slice_logs
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.slurm_answers import Task
from vmafarm.cluster.status import read_status
from vmafarm.cluster.submit import submit
from vmafarm.common.errors import UsageError
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.process.job_ids import in_order, number_of
from vmafarm.process.node import task_of
from vmafarm.run_folder.log_files import log_path
from vmafarm.run_folder.merge_jobs import MergeJobLog, read_merge_job
from vmafarm.run_folder.packed_logs import find_logs
from vmafarm.run_folder.submissions import next_look_path, read_submissions


def test_every_program_is_asked_about_the_cluster_of_the_run(cluster, runs):
    run = planned(runs, cluster="tesla")
    cluster.set_limits()
    submit(run.config, Slurm(cluster="tesla"))
    assert slurm_of(run.folder).cluster == "tesla", "status and retry need no configuration for it"
    cluster.set_queue((name_of(run), "11|11|0|RUNNING|None|node1"))
    read_status(run.config, slurm_of(run.folder))
    assert cancel(run.config) == ["11@tesla"]
    asked = {call.partition(" ")[0] for call in cluster.calls}
    assert {"sbatch", "squeue", "sinfo", "scontrol", "sacct", "scancel", "sacctmgr"} <= asked
    for call in cluster.calls:
        if call.startswith("sacctmgr"):
            assert " assoc " not in call or "clusters=tesla" in call
        else:
            assert "--clusters=tesla" in call, call


def test_lines_that_name_the_cluster_are_no_jobs(cluster):
    cluster.set_queue(("r", "CLUSTER: tesla"), ("r", "20|20|N/A|RUNNING|None|node1"))
    assert Slurm(cluster="tesla").queue("r") == [Task("20@tesla", None, "RUNNING", "", "node1")]


def test_a_run_with_jobs_on_one_cluster_is_not_submitted_to_another(cluster, runs):
    run = planned(runs, cluster="tesla")
    submit(run.config, Slurm(cluster="tesla"))
    cluster.set_queue((name_of(run), "11|11|0|RUNNING|None|node1"))
    moved = run.config.model_copy(update={"slurm": SlurmSection(cluster="volta")})
    with pytest.raises(UsageError, match="has jobs on the cluster tesla: 11@tesla") as caught:
        submit(moved, Slurm(cluster="volta"), again=True)
    assert "this submission would go to the cluster volta" in caught.value.message
    cluster.set_queue()
    submit(moved, Slurm(cluster="volta"), again=True)
    assert [one.cluster for one in read_submissions(run.folder)] == ["tesla", "volta"]


def test_jobs_with_the_same_number_on_two_clusters_are_told_apart(cluster, runs):
    run = planned(runs, count=4, cluster="tesla")
    first = submit(run.config, Slurm(cluster="tesla")).submission
    write_record(run, "11@tesla", 0, first.slices_in(first.arrays[0], 0), exit_code=3, message="no space")
    write_log(run, "11@tesla_0", "err", "of tesla\n")
    cluster.set_next(11)  # the other cluster counts its own jobs
    moved = run.config.model_copy(update={"slurm": SlurmSection(cluster="volta")})
    second = submit(moved, Slurm(cluster="volta"), again=True).submission
    assert first.jobs()[0] == "11@tesla"
    assert second.jobs()[0] == "11@volta"
    assert first.merge_job.endswith("@tesla")
    assert second.merge_job.endswith("@volta")
    write_record(run, "11@volta", 0, second.slices_in(second.arrays[0], 0), minutes=1)
    write_log(run, "11@volta_0", "err", "of volta\n")
    cluster.set_queue(*((name_of(run), f"11|11|{index}|RUNNING|None|node1") for index in (1, 2, 3)))
    cluster.set_accounting("11_0|COMPLETED|node1")
    status = read_status(moved, slurm_of(run.folder))
    assert (status.elements, status.messages) == ({"COMPLETED": 1, "RUNNING": 3}, ())
    (number,) = second.slices_in(second.arrays[0], 0)
    logs = slice_logs(moved, slurm_of(run.folder), number, 5)
    assert [task.name for task in logs.tasks] == ["11_0@volta", "11_0@tesla"]
    assert list(logs.logs.values()) == [["of volta"]]
    asked = [call for call in cluster.calls if call.startswith("sacct ")]
    assert asked
    assert not any("@" in call for call in cluster.calls)


def test_logs_of_a_job_have_the_name_of_its_cluster_and_are_packed(cluster, runs):
    run = planned(runs, count=4, nodes=2, cluster="tesla", notify="cat")
    submission = submit(run.config, Slurm(cluster="tesla")).submission
    array, merge = submission.arrays[0].job, submission.merge_job
    output = cluster.options(number_of(array))["output"]
    path = log_path(run.folder, array, 0, "out", 2)
    assert output.replace("%A", "11").replace("%a", "0") == str(path)
    assert "/%A@tesla_%a_%t_log.out" in cluster.scripts["11"]
    assert "@tesla.json" in cluster.scripts[number_of(merge)], "slurm.notify reads what the merge job writes"
    for log in (path, log_path(run.folder, array, 1, "out", 2), log_path(run.folder, merge, None, "err")):
        log.write_text("")
    assert find_logs({one.name: one.stat() for one in run.folder.logs.iterdir()})[1] == []


def test_elements_and_the_merge_record_their_job_with_its_cluster(runs, monkeypatch):
    run = planned(runs, cluster="tesla")
    in_job = {"SLURM_JOB_ID": "30", "SLURM_ARRAY_JOB_ID": "11", "SLURM_ARRAY_TASK_ID": "3"}
    assert task_of(in_job, "local", cluster="tesla") == ("11@tesla", 3)
    assert task_of({}, "local", cluster="tesla") == ("local", None)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    MergeJobLog(run.folder, "tesla").end("published")
    assert read_merge_job(run.folder, "12@tesla").outcome == "published"
    assert read_merge_job(run.folder, "12") is None


def test_what_nodes_read_is_the_number_of_a_job(cluster, runs):
    run = planned(runs, cluster="tesla")
    submission = submit(run.config, Slurm(cluster="tesla")).submission
    look = next_look_path(run.folder, submission.number)
    assert look.read_text().strip() == number_of(submission.arrays[-1].job)
    for text in cluster.scripts.values():
        assert "@tesla" not in " ".join(line for line in text.splitlines() if "dependency" in line)


def test_jobs_are_listed_by_cluster_and_number():
    assert in_order(["9@b", "10", "9", "10@a", "9"]) == ["9", "10", "10@a", "9@b"]


def test_one_cluster_can_be_named_not_several():
    with pytest.raises(ValueError, match="cluster"):
        SlurmSection(cluster="tesla,volta")
