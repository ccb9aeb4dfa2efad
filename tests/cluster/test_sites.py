"""What differs between sites: clusters, environments, jobs of several nodes, what waits, who is notified."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from support.fake_slurm import name_of, planned, write_log, write_record

from vmafarm.cluster.clusters import cancel
from vmafarm.cluster.notify import lines_after, lines_before
from vmafarm.cluster.packing import lay_out
from vmafarm.cluster.slice_logs import slice_logs
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.slurm_answers import Task
from vmafarm.cluster.slurm_programs import ignored_variables
from vmafarm.cluster.status import read_status
from vmafarm.cluster.status_table import table
from vmafarm.cluster.submit import submit
from vmafarm.cluster.waiting import why_jobs_wait
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.doctor.cluster import check_environment
from vmafarm.process.node import task_of
from vmafarm.run_folder.paths import RunFolder

HOSTILE = {
    "SLURM_JOB_ID": "7", "SLURM_MEM_PER_CPU": "100", "SLURM_EXPORT_ENV": "NONE", "SBATCH_JOB_NAME": "mine",
    "SBATCH_ARRAY_INX": "5-9", "SBATCH_ACCOUNT": "vision", "SQUEUE_STATES": "COMPLETED", "SINFO_FORMAT": "%x",
    "SCANCEL_STATE": "RUNNING", "SACCT_FORMAT": "x", "APPTAINER_BIND": "/gone", "PYTHONPATH": "/gone",
}  # fmt: skip


@pytest.fixture
def hostile(monkeypatch):
    """A shell inside a job of somebody who has set all that SLURM's programs read."""
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")


def test_programs_of_slurm_get_nothing_that_a_job_or_a_user_has_set_for_them(cluster, runs, hostile):
    run = planned(runs)
    said: list[str] = []
    submit(run.config, Slurm(), say=said.append)
    read_status(run.config, Slurm())
    cancel(run.config)
    assert not cluster.variables & HOSTILE.keys()
    assert {"SLURM_CONF", "PATH"} <= cluster.variables
    assert said == ["warning: not passed on: SBATCH_ACCOUNT: set slurm.account"]


def test_doctor_names_what_is_not_passed_on_and_what_to_set_in_its_place():
    result = check_environment(HOSTILE | {"SBATCH_WCKEY": "w"})
    assert result.state == "warning"
    assert result.message == (
        "not passed on: APPTAINER_BIND, SACCT_FORMAT, SBATCH_ACCOUNT, SBATCH_ARRAY_INX, SBATCH_JOB_NAME, "
        "SBATCH_WCKEY and 6 more: this shell runs inside a job"
    )
    assert result.hint.splitlines() == [
        "SBATCH_ACCOUNT: set slurm.account",
        'SBATCH_WCKEY: set slurm.extra = { "wckey" = ... }',
    ]
    assert check_environment({"PATH": "/bin", "SLURM_CONF": "/c", "PYTHONPATH": "/p"}).state == "ok"
    assert ignored_variables({"SLURM_JWT": "t"}) == ([], [])


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ("BadConstraints", "no node has what is requested"),
        ("DependencyNeverSatisfied", "what it waits for is gone"),
        ("PartitionTimeLimit", "slurm.time is above the limit"),
        ("QOSMaxWallDurationPerJobLimit", "slurm.time is above the limit"),
        ("QOSMaxCpuPerJobLimit", "than the partition or the QOS allows"),
        ("InvalidQOS", "may not be used there"),
        ("JobHeldUser", "scontrol release JOB"),
        ("launch failed requeued held", "the node could not start it"),
        ("(launch_failed_requeued_held)", "the node could not start it"),
        ("AssocGrpCPUMinutesLimit", "used up"),
        ("ReqNodeNotAvail, UnavailableNodes:node[1-4]", "down or reserved"),
        ("Resources", ""),
        ("Priority", ""),
        ("Dependency", ""),
        ("JobArrayTaskLimit", ""),
        ("QOSMaxJobsPerUserLimit", ""),
        ("", ""),
    ],
)
def test_jobs_that_will_not_start_by_themselves_are_told_from_those_that_wait(reason, hint):
    (found,) = why_jobs_wait([Task("7", 0, "PENDING", reason, "")])
    assert hint in found.hint
    assert bool(found.hint) == bool(hint)


def test_status_groups_what_waits_by_reason_and_warns_of_what_never_starts(cluster, runs):
    run = planned(runs)
    submit(run.config, Slurm())
    name = name_of(run)
    cluster.set_queue(
        (name, "21|11|0|RUNNING|None|node1"),
        (name, "11|11|1|PENDING|Resources|"), (name, "11|11|2|PENDING|Resources|"),
        (name, "12|12|0|PENDING|Dependency|"),
        (name, "13|13|N/A|PENDING|BadConstraints|"),
    )  # fmt: skip
    status = read_status(run.config, Slurm())
    assert [(one.reason, one.count, one.jobs) for one in status.pending] == [
        ("BadConstraints", 1, ("13",)), ("Resources", 2, ("11",)), ("Dependency", 1, ("12",)),
    ]  # fmt: skip
    text = " ".join(" ".join(table(status, 60)).split())
    assert "1 BadConstraints, 2 Resources, 1 Dependency" in text
    assert "BadConstraints: job 13 will not start by itself: no node has what is requested" in text
    assert all(len(line) <= 60 for line in table(status, 60))


def test_status_says_when_no_job_is_left_that_would_publish(cluster, runs):
    run = planned(runs)
    job = submit(run.config, Slurm()).submission.merge_job
    cluster.set_queue()
    cluster.set_accounting(f"{job}|CANCELLED|node1")
    nobody = "no job is left that would publish the table: vmafarm retry --run demo"
    assert nobody in read_status(run.config, Slurm()).notes
    cluster.set_queue((name_of(run), f"{job}|{job}|N/A|RUNNING|None|node1"))
    assert nobody not in read_status(run.config, Slurm()).notes


def test_a_job_of_two_nodes_has_an_element_on_each(cluster, runs):
    run = planned(runs, nodes=2, parallelism=4)
    submission = submit(run.config, Slurm()).submission
    first, *_, merge = cluster.scripts
    options = cluster.options(first)
    assert (options["nodes"], options["ntasks-per-node"], options["array"]) == ("2", "1", "0-1%2")
    assert "--nodes=2 --ntasks=2 --cpus-per-task=2 --export=ALL --ntasks-per-node=1" in cluster.scripts[first]
    assert "--kill-on-bad-exit=0 --wait=0" in cluster.scripts[first]
    assert cluster.options(merge)["nodes"] == "1"
    specs = cluster.specs(first)
    assert len(specs) == 4
    assert sorted(number for spec in specs for number in spec.slices) == [0, 1, 2, 3, 4]
    assert {spec.tasks for spec in specs} == {2}
    assert submission.arrays[0].job_count == 2
    of_jobs = [set(submission.slices_of(first, index)) for index in (0, 1)]
    assert of_jobs == [set(specs[0].slices + specs[1].slices), set(specs[2].slices + specs[3].slices)]


@pytest.mark.parametrize(
    ("array", "rank", "tasks", "index"),
    [("3", "0", 1, 3), (None, "0", 1, None), ("3", "1", 2, 7), (None, "1", 2, 1), ("0", "5", 1, 0)],
)
def test_an_element_knows_its_number_by_its_job_and_its_node(array, rank, tasks, index):
    environment = {"SLURM_JOB_ID": "9", "SLURM_PROCID": rank}
    if array is not None:
        environment |= {"SLURM_ARRAY_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": array}
    assert task_of(environment, "local", tasks) == ("9", index)


def test_states_and_logs_of_elements_that_share_a_job(cluster, runs):
    run = planned(runs, count=4, nodes=2)
    submission = submit(run.config, Slurm()).submission
    job = submission.arrays[0].job
    name = name_of(run)
    cluster.set_queue((name, f"30|{job}|0|RUNNING|None|node[1-2]"), (name, f"31|{job}|1|PENDING|Resources|"))
    write_record(run, job, 0, submission.slices_in(submission.arrays[0], 0))
    write_record(run, job, 1, submission.slices_in(submission.arrays[0], 1), ended=False, node="node2")
    status = read_status(run.config, Slurm())
    assert status.elements == {"COMPLETED": 1, "PENDING": 2, "RUNNING": 1}
    write_log(run, f"{job}_0", "err", "of the first\n").rename(run.folder.logs / f"{job}_0_0_log.err")
    (run.folder.logs / f"{job}_0_1_log.err").write_text("of the second\n")
    (number,) = submission.slices_in(submission.arrays[0], 1)
    logs = slice_logs(run.config, Slurm(), number, 5).logs
    assert list(logs.values()) == [["of the second"]]


@pytest.mark.parametrize(
    ("slices", "keys", "size", "left", "first", "later"),
    [
        (12, {"nodes": 2}, 1001, None, 12, 12),
        (11, {"nodes": 2}, 1001, None, 10, 10),  # each node has an element
        (1, {"nodes": 4}, 1001, None, 1, 1),
        (1523, {"nodes": 4}, 101, None, 400, 64),
        (12, {"nodes": 2}, 1001, 5, 4, 4),  # two jobs a round, and the merge
        (12, {"nodes": 2}, 1, None, 2, 2),  # no arrays
    ],
)
def test_jobs_are_limited_not_the_elements_on_their_nodes(slices, keys, size, left, first, later):
    layout = lay_out(slices, None, SlurmSection(**keys), size, left)
    assert (layout.first, layout.later) == (first, later)


def test_a_site_without_arrays_gets_single_jobs(cluster, runs):
    submit(planned(runs, max_array_size=1).config, Slurm())
    assert all("array" not in cluster.options(job) for job in cluster.scripts)


def as_job(job: str, script: str) -> subprocess.CompletedProcess[str]:
    """Run the script of a job."""
    environment = os.environ | {"SLURM_JOB_ID": job}
    return subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=False
    )


def notify(folder: RunFolder, command: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """The end of a merge job's script, behind a merge that ended like this."""
    script = "\n".join([*lines_before(command), f"(exit {status})", *lines_after(command, folder)])
    return subprocess.run(
        ["bash", "-c", script],
        env=os.environ | {"SLURM_JOB_ID": "77"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["runs", "it's $HOME"])
def test_a_command_gets_the_outcome_of_the_merge_and_the_job_keeps_its_exit_status(tmp_path: Path, name: str):
    folder = RunFolder(tmp_path / name, "r")
    folder.merge_jobs.mkdir(parents=True)
    ended = notify(folder, "cat", 3)
    assert ended.returncode == 3
    lost = json.loads(ended.stdout)
    assert (lost["job"], lost["run"], lost["outcome"]) == ("77", "r", "failed")
    assert lost["reasons"] == ["it left no record of its end: see its log"]
    record = {"job": "77", "ended_at": "2026-01-01T00:00:00+00:00", "outcome": "published"}
    (folder.merge_jobs / "77.json").write_text(json.dumps(record) + "\n")
    ended = notify(folder, 'read -r line; echo "$line" | grep -o publish')
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "publish\n", "")


def test_a_command_that_fails_is_reported_and_changes_no_outcome(cluster, runs, tmp_path: Path):
    run = planned(runs, notify="exit 9")
    job = submit(run.config, Slurm()).submission.merge_job
    assert "sh -c 'exit 9'" in cluster.scripts[job]
    assert all("exit 9" not in text for one, text in cluster.scripts.items() if one != job)
    run.folder.merge_jobs.mkdir()
    planted = tmp_path / "planted"
    planted.write_text("kept")
    (run.folder.merge_jobs / f"{job}.notify").symlink_to(planted)
    script = cluster.scripts[job].partition("# command")[2].replace("srun", "true srun", 1)
    ended = subprocess.run(
        ["bash", "-c", script],
        env=os.environ | {"SLURM_JOB_ID": job},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "slurm.notify failed: exit status 9\n")
    assert planted.read_text() == "kept"
    cluster.set_queue()
    assert [
        note
        for note in read_status(run.config, Slurm()).notes
        if "slurm.notify failed: exit status 9" in note
    ]
