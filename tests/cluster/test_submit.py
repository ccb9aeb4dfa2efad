"""Submitting to a fake SLURM: scripts, the work that they start, what is left to a retry."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shlex
import stat
import subprocess
import sys

import pytest
from support import command
from support.fake_slurm import finish, name_of, planned

from vmafarm.cluster import executor as queue
from vmafarm.cluster import submit as submit_module
from vmafarm.cluster.preparation import check_image
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.submit import cancel, preview, submit
from vmafarm.common.errors import IncompleteError, UnavailableError, UsageError, VmafarmError
from vmafarm.common.package import data_folder
from vmafarm.config.load import Config
from vmafarm.images import apptainer
from vmafarm.images.command import starter_command
from vmafarm.process.toolkit import version
from vmafarm.publish import merge_on_node
from vmafarm.run_folder.broken_nodes import mark_broken
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.provenance import freeze
from vmafarm.run_folder.submissions import Array, read_submissions


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "it's my runs"


def queued(run, *slices, job="11", state="RUNNING"):
    """Elements of the first array in the queue."""
    numbers = read_submissions(run.folder)[0].slices
    return [(name_of(run), f"{job}|{job}|{numbers.index(n)}|{state}|None|node1") for n in slices]


def slices_of(cluster, job, count):
    """What the elements of an array will find."""
    specs = cluster.specs(job)
    assert len(specs) == count
    return [number for spec in specs for number in spec.slices]


def refusal(kind, call, *arguments, **options):
    with pytest.raises(VmafarmError) as caught:
        call(*arguments, **options)
    assert type(caught.value) is kind
    return caught.value


def test_each_round_waits_for_the_one_before_and_the_merge_for_all(cluster, runs):
    run = planned(runs, parallelism=3, rounds=3)
    submitted = submit(run.config, Slurm())
    assert list(cluster.scripts) == ["11", "12", "13", "14", "15", "16"]
    assert "\n#SBATCH --array=0-4%3\n" in cluster.scripts["11"]
    for job in ("12", "13"):  # no more elements than run at the same time
        assert "\n#SBATCH --array=0-2%3\n" in cluster.scripts[job]
    assert slices_of(cluster, "12", 3) == slices_of(cluster, "13", 3) == [0, 3, 1, 4, 2]
    assert "dependency" not in cluster.options("11")
    assert "\n#SBATCH --dependency=afterany:11\n" in cluster.scripts["12"]
    assert "\n#SBATCH --dependency=afterany:12\n" in cluster.scripts["13"]
    assert "\n#SBATCH --dependency=afterany:11:12\n" in cluster.scripts["14"]  # beside the last round
    assert "\n#SBATCH --dependency=afterany:11:12:13:14\n" in cluster.scripts["15"]
    assert "\n#SBATCH --dependency=afterany:11:12:13:14:15\n" in cluster.scripts["16"]
    assert not any("array" in cluster.options(job) for job in ("14", "15", "16"))
    assert {cluster.options(job)["job-name"] for job in cluster.scripts} == {name_of(run)}
    assert submitted.lines() == [
        "submitted 5 slices: 0-4",
        f"jobs 11, 12, 13, 14, 15, 16 called {name_of(run)}",
    ]


def test_the_script_holds_all_that_was_configured(cluster, runs):
    run = planned(
        runs, partition="gpu", account="vision", qos="long", time=45, mem="6GB", cpus=3, gpus=1,
        constraint="a100&nvme", exclude="node[1-2]", extra={"mail-type": "END"},
        setup=["module load cuda/12", "ulimit -c 0"], environment={"GREETING": "it's \"$HOME\"", "_X": ""},
        merge={"partition": "cpu", "mem": "2GB", "cpus": 1, "time": 9},
    )  # fmt: skip
    submit(run.config, Slurm())
    text = cluster.scripts["11"]
    for line in (
        "#SBATCH --partition=gpu", "#SBATCH --account=vision", "#SBATCH --qos=long", "#SBATCH --time=45",
        "#SBATCH --mem=6GB", "#SBATCH --cpus-per-task=3", "#SBATCH --gpus-per-node=1", "#SBATCH --requeue",
        "#SBATCH --constraint='a100&nvme'", "#SBATCH --exclude='node[1-2]'", "#SBATCH --mail-type=END",
        "#SBATCH --signal=USR2@90", "#SBATCH --open-mode=append",
        "module load cuda/12", "ulimit -c 0",
        "export GREETING='it'\\''s \"$HOME\"'", "export _X=''",
    ):  # fmt: skip
        assert line in text.splitlines(), line
    assert "--gres" not in text
    (start,) = [line for line in text.splitlines() if line.startswith("srun ")]
    words = shlex.split(start)
    assert "--cpus-per-task=3" in words
    python = words.index(sys.executable)
    logs = str(run.folder.logs.absolute())
    assert words[python:-2] == [sys.executable, "-E", "-P", "-s", "-X", "utf8", "-u", "-m", "vmafarm.start"]
    assert cluster.options("11")["output"] == f"{logs}/%A_%a_0_log.out"
    # In the order in which they count: before the element.
    assert text.index("module load") < text.index("\nsrun ")
    assert text.index("export GREETING") < text.index("module load")
    merge = cluster.options("15")
    assert (merge["partition"], merge["mem"], merge["time"]) == ("cpu", "2GB", "9")
    assert (merge["cpus-per-task"], merge["account"]) == ("1", "vision")
    assert not {"gpus-per-node", "gres", "constraint"} & merge.keys()
    assert "--cpus-per-task=1 " in cluster.scripts["15"]


def test_exported_values_come_through_the_shell_as_they_are(cluster, runs):
    value = 'it\'s "$HOME" `id` \\n {{ 7*7 }}\nline 2'
    submit(planned(runs, 1, environment={"GREETING": value}, rounds=1).config, Slurm())
    script = cluster.scripts["11"]
    export = script[script.index("export GREETING=") : script.index("\n\n# command")]
    shown = subprocess.run(
        ["sh", "-c", f'{export}\nprintf %s "$GREETING"'], capture_output=True, text=True, check=True
    )
    assert shown.stdout == value


def test_gres_stands_in_the_script_as_the_site_wants_it(cluster, runs):
    submit(planned(runs, partition="gpu", gres="gpu:a100:1").config, Slurm())
    assert "\n#SBATCH --gres=gpu:a100:1\n" in cluster.scripts["11"]
    assert "gpus-per-node" not in cluster.options("11")


@pytest.mark.parametrize("key", ["A B", "1A", "A;rm", "", "É"])
def test_a_variable_that_no_shell_can_export_is_refused(cluster, runs, key):
    error = refusal(UsageError, submit, planned(runs, environment={key: "x"}).config, Slurm())
    assert error.message == f"slurm.environment: {key!r} is no name of an environment variable"
    assert not cluster.scripts


def test_1523_slices_are_cut_into_arrays_that_the_cluster_takes(cluster, runs):
    run = planned(runs, 1523, rounds=1, parallelism=64)
    submitted = submit(run.config, Slurm())
    assert cluster.options("11")["array"] == "0-760%32"
    assert cluster.options("12")["array"] == "0-761%32"
    assert slices_of(cluster, "11", 761) + slices_of(cluster, "12", 762) == list(range(1523))
    assert cluster.options("15")["dependency"] == "afterany:11:12:13:14"
    assert submitted.submission.arrays[:2] == (
        Array("11", 0, 0, 761, "ordinary"), Array("12", 0, 761, 762, "ordinary")
    )  # fmt: skip
    assert submitted.submission.slices_of("12", 0) == (761,)
    assert submitted.lines()[-1].startswith("2 arrays: the cluster's MaxArraySize")


def test_a_later_round_waits_for_all_arrays_of_the_one_before(cluster, runs):
    cluster.set_max_array_size(3)
    run = planned(runs)
    submit(run.config, Slurm())
    assert [cluster.options(job).get("dependency") for job in cluster.scripts] == [
        None, None, None, "afterany:11:12:13", "afterany:11:12:13", "afterany:11:12:13:14:15",
        "afterany:11:12:13:14:15:16",
    ]  # fmt: skip
    assert slices_of(cluster, "11", 1) + slices_of(cluster, "12", 2) + slices_of(cluster, "13", 2) == list(
        range(5)
    )
    assert slices_of(cluster, "14", 2) == [0, 2, 4, 1, 3]


def test_the_work_holds_what_an_element_needs_wherever_it_starts(cluster, runs, monkeypatch):
    runs.mkdir()
    monkeypatch.chdir(runs.parent)
    run = planned(runs, 2, time=45)
    relative = run.config.run.model_copy(update={"root": runs.name})
    submit(run.config.model_copy(update={"run": relative}), Slurm())
    _, spec = cluster.specs("11")
    assert (spec.slices, spec.minutes, spec.launcher) == ((1,), 45, 0)
    assert spec.manifest == load_manifest(run.folder).digest
    assert Config.model_validate(spec.config).run.root == str(runs)
    looks = [spec for job in ("13", "14") for spec in cluster.specs(job)]
    assert [(look.share, look.slices) for look in looks] == [("elsewhere", (0, 1)), ("last look", (0, 1))]
    assert cluster.work("15") == {"merge": spec.config}
    assert run.folder.logs.stat().st_mode & 0o777 == 0o700


def test_one_slice_is_a_single_job_whose_element_has_no_index(cluster, runs):
    run = planned(runs)
    finish(run, 0, 1, 2, 4)
    submitted = submit(run.config, Slurm())
    assert "--array" not in cluster.scripts["11"] + submitted.script
    (spec,) = cluster.specs("11")
    assert spec.slices == (3,)
    assert submitted.submission.slices_of("11", None) == (3,)
    cluster.set_queue((name_of(run), "11|11|N/A|RUNNING|None|node1"))
    error = refusal(UsageError, submit, run.config, Slurm(), again=True)
    assert error.message == "everything that is missing waits or runs: slices 3"


def test_a_dry_run_shows_the_script_and_queues_and_writes_nothing(cluster, runs):
    run = planned(runs, parallelism=3)
    before = sorted(run.folder.path.rglob("*"))
    seen = preview(run.config, Slurm(), load_manifest(run.folder))
    assert not cluster.scripts
    assert sorted(run.folder.path.rglob("*")) == before
    assert "#SBATCH --array=0-4%3" in seen.script
    assert seen.command == shlex.join([sys.executable, "-E", "-P", "-s", "-X", "utf8"])
    submit(run.config, Slurm())
    assert cluster.scripts["11"] == seen.script


def test_a_dry_run_needs_neither_a_plan_nor_slurm_nor_an_image_and_leaves_nothing_behind(
    tmp_path, monkeypatch
):
    (tmp_path / "clips").mkdir()
    names = [f"c{number}.mp4" for number in range(3)]
    for name in names:
        (tmp_path / "clips" / name).write_bytes(b"x" * 10)
    command.write_scores(tmp_path / "scores.csv", names)
    before = sorted(tmp_path.rglob("*"))
    keys = ("slices.count=3", "slurm.image=there/is/none.sif", "slurm.partition=gpu")
    words = [word for key in keys for word in ("--set", key)]
    monkeypatch.setenv("PATH", "/nowhere")
    said = command.vmafarm("submit", "--dry-run", *command.corpus(*words), cwd=tmp_path).stdout
    assert sorted(tmp_path.rglob("*")) == before
    assert "no cluster to ask (this machine has no SLURM: no program sbatch)" in said
    assert f"a submission would be refused: cannot read the image {tmp_path}/there/is/none.sif" in said
    assert "#SBATCH --array=0-2%3" in said
    assert "#SBATCH --partition=gpu" in said
    assert said.endswith("nothing queued (--dry-run)\n")


def test_the_record_says_what_was_submitted_and_with_what(cluster, runs):
    run = planned(runs, time=45)
    submitted = submit(run.config, Slurm())
    (record,) = read_submissions(run.folder)
    assert record == submitted.submission
    assert (record.number, record.slices, record.job_name) == (1, (0, 1, 2, 3, 4), name_of(run))
    assert (record.version, record.image, record.image_digest) == (version(), "", "")
    assert record.settings["slurm.time"] == 45
    assert record.settings["engine.threads"] == 1
    assert not any(key.startswith("corpus.") for key in record.settings)
    assert record.arrays == (
        Array("11", 0, 0, 5, "ordinary"), Array("12", 1, 0, 5, "ordinary"),
        Array("13", 3, 0, 1, "elsewhere"), Array("14", 4, 0, 1, "last look"),
    )  # fmt: skip
    assert record.merge_job == "15"
    assert (run.folder.submissions / "00001.look").read_text() == "14\n"


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
        "3 clips that failed on one node only: submitted to another node than node3",
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
    assert refusal(UsageError, submit, run.config, Slurm(), again=True).message.endswith("slices 2-5")


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


def test_of_two_submissions_at_once_one_queues_and_the_other_is_refused(cluster, runs):
    run = planned(runs)
    refused = []

    def come_between() -> None:
        refused.extend(
            refusal(UsageError, submit, run.config, Slurm(), again=again) for again in (False, True)
        )

    submit(run.config, Slurm(), preflight=come_between)
    assert len(read_submissions(run.folder)) == 1
    assert list(cluster.scripts) == ["11", "12", "13", "14", "15"]
    for error in refused:
        assert error.message == (
            'another vmafarm submit or retry of "demo" is at work: it holds '
            f"{run.folder.submit_lock}, expected one at a time"
        )
        assert error.hint.startswith("wait until it has ended")


def test_a_submission_holds_its_lock_until_its_last_job_is_noted(cluster, runs, monkeypatch):
    run = planned(runs)
    note, refused = submit_module.note_job, []

    def come_between(*arguments):
        refused.append(refusal(UsageError, submit, run.config, Slurm(), again=True).message)
        note(*arguments)

    monkeypatch.setattr(submit_module, "note_job", come_between)
    submit(run.config, Slurm())
    assert len(refused) == len(cluster.scripts) == 5
    assert all("is at work" in message for message in refused)


def test_a_submission_that_was_refused_keeps_no_lock(cluster, runs):
    run = planned(runs)

    def refuse():
        raise UnavailableError("no engine")

    assert refusal(UnavailableError, submit, run.config, Slurm(), preflight=refuse).message == "no engine"
    submit(run.config, Slurm())
    assert len(read_submissions(run.folder)) == 1


def test_a_killed_submission_leaves_no_lock(cluster, runs):
    run = planned(runs)
    hold = (
        "import sys, time; from pathlib import Path; from vmafarm.common.errors import UsageError; "
        "from vmafarm.disk.locks import locked\n"
        "with locked(Path(sys.argv[1]), UsageError('busy'), ''): print('held', flush=True); time.sleep(60)"
    )
    arguments = [sys.executable, "-c", hold, str(run.folder.submit_lock)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert "is at work" in refusal(UsageError, submit, run.config, Slurm()).message
        holder.kill()
    submit(run.config, Slurm())
    assert len(read_submissions(run.folder)) == 1


def test_a_file_system_without_locks_keeps_no_submission_back(cluster, runs, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert submit(planned(runs).config, Slurm()).submission.number == 1


@pytest.mark.parametrize(("mode", "shared"), [(0o700, 0o600), (0o2770, 0o660)])
def test_the_lock_of_a_submission_is_open_to_who_may_write_the_run_alone(cluster, runs, mode, shared):
    run = planned(runs)
    run.folder.path.chmod(mode)
    submit(run.config, Slurm())
    assert stat.S_IMODE(run.folder.submit_lock.stat().st_mode) == shared


def test_a_link_in_the_place_of_the_lock_is_refused_and_what_it_leads_to_stays_private(cluster, runs):
    run = planned(runs)
    private = runs.parent / "private"
    private.touch(0o600)
    run.folder.path.chmod(0o770)
    run.folder.submit_lock.symlink_to(private)
    error = refusal(UnavailableError, submit, run.config, Slurm())
    lock = run.folder.submit_lock
    assert error.message == f"{lock} cannot be opened: this is a link, expected a regular file"
    assert error.hint == "move it away while no vmafarm submit or retry is at work"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert list(cluster.scripts) == []


def test_nothing_is_submitted_where_nothing_is_missing(cluster, runs):
    run = planned(runs, 2)
    finish(run, 0)
    run.fail("c0001.mp4")
    for again in (False, True):
        error = refusal(UsageError, submit, run.config, Slurm(), again=again)
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
    assert cancel(here.config, Slurm()) == ["9", "11"]
    assert [call for call in cluster.calls if call.startswith("scancel")] == ["scancel 9 11"]
    cluster.set_queue()
    assert cancel(here.config, Slurm()) == []
    assert len([call for call in cluster.calls if call.startswith("scancel")]) == 1


@pytest.mark.parametrize(("failing", "before"), [("11", ""), ("12", "11"), ("13", "11, 12")])
def test_an_sbatch_that_fails_leaves_the_jobs_before_it_noted(cluster, runs, capfd, failing, before):
    run = planned(runs)
    cluster.fail(
        f"sbatch-{failing}",
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\n"
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy",
    )
    error = refusal(UnavailableError, submit, run.config, Slurm())
    assert error.message == (
        "sbatch refuses: sbatch: error: Batch job submission failed: Job violates accounting/QOS policy"
    )
    assert error.hint.startswith("a limit of your account or QOS: slurm.max_jobs makes slices share")
    stated = f"\nqueued before that: {before}; vmafarm cancel removes them"
    assert error.hint.endswith(stated) if before else "queued" not in error.hint
    (record,) = read_submissions(run.folder)
    assert ", ".join(record.jobs()) == before
    assert record.slices == (0, 1, 2, 3, 4)
    assert capfd.readouterr() == ("", "")  # one message: the error's
    scripts = {path.name for path in run.folder.logs.glob("*_submission.sh")}
    assert scripts == {f"{job}_submission.sh" for job in record.jobs()}, "none that was refused"


def test_sbatch_gets_the_script_that_was_made_and_no_file_that_somebody_could_exchange(cluster, runs):
    run = planned(runs, environment={"TOKEN": "secret"})
    real = (cluster.programs / "sbatch").read_text()
    logs = shlex.quote(str(run.folder.logs))
    plant = f"for path in {logs}/*.sh; do echo 'echo planted' > \"$path\"; done"
    cluster.add_program("sbatch", real.replace("#!/bin/sh\n", f"#!/bin/sh\n{plant}\n"))
    submit(run.config, Slurm())
    assert all(call == "sbatch " for call in cluster.calls if call.startswith("sbatch")), "no name of a file"
    for job, text in cluster.scripts.items():
        assert "planted" not in text
        assert "export TOKEN='secret'" in text
        path = run.folder.logs / f"{job}_submission.sh"
        assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == text, "for people who look later"


def test_an_answer_of_sbatch_that_names_no_job_is_shown(cluster, runs):
    cluster.add_program("sbatch", "#!/bin/sh\necho welcome to the cluster\n")
    error = refusal(UnavailableError, submit, planned(runs).config, Slurm())
    assert "welcome to the cluster" in error.message


def test_an_answer_of_sbatch_in_any_encoding_names_its_job(cluster, runs):
    said = r"Gr\374sse\nSubmitted batch job 7%s\n"
    cluster.add_program("sbatch", f'#!/bin/sh\necho >> "$0.calls"; printf \'{said}\' $(wc -l < "$0.calls")\n')
    assert submit(planned(runs).config, Slurm()).submission.jobs() == ["71", "72", "73", "74", "75"]


def test_a_job_id_that_is_too_long_is_none(cluster, runs):
    cluster.add_program("sbatch", f"#!/bin/sh\necho Submitted batch job {'9' * 21}\n")
    assert "expected: Submitted" in refusal(UnavailableError, submit, planned(runs).config, Slurm()).message


def test_a_full_disk_while_the_work_is_written_down_is_one_message(cluster, runs, monkeypatch):
    def write(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(queue.Work, "write", write)
    error = refusal(UnavailableError, submit, planned(runs).config, Slurm())
    assert "No space left on device" in error.message


@pytest.mark.parametrize("kind", [UnavailableError, UsageError, IncompleteError])
def test_whatever_ends_the_queueing_says_what_was_queued(cluster, runs, monkeypatch, kind):
    def note(*_):
        raise kind("no space left", "free space")

    monkeypatch.setattr(submit_module, "note_job", note)
    error = refusal(kind, submit, planned(runs).config, Slurm())
    assert error.message == "no space left"
    assert error.hint == "free space\nqueued before that: 11; vmafarm cancel removes them"


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
        assert error.message == 'jobs of "demo" are in the queue that no submission has noted: 11'
        assert "vmafarm cancel, then vmafarm retry" in error.hint
    assert cancel(run.config, Slurm()) == ["11"]
    cluster.set_queue()
    submitted = submit(run.config, Slurm(), again=True)
    assert (submitted.submission.number, submitted.submission.slices) == (2, (0, 1, 2, 3, 4))


STOPPED_IN_SBATCH = """#!/bin/sh
read -r job < {state}/next
if [ $job = {at} ]; then kill -{signal} $PPID; sleep 30; fi
echo $((job + 1)) > {state}/next
echo "Submitted batch job $job"
"""


@pytest.mark.parametrize("number", ["INT", "TERM"])
@pytest.mark.parametrize(("at", "queued"), [(11, "one may"), (13, "11, 12 wait or run, and one more may")])
def test_an_interrupt_while_jobs_are_queued_names_them_like_a_refusal(cluster, tmp_path, at, queued, number):
    run = planned(tmp_path / "runs")
    state = cluster.programs.parent / "state"
    cluster.add_program("sbatch", STOPPED_IN_SBATCH.format(state=state, at=at, signal=number))
    submit_it = (
        "import sys; from vmafarm.config.load import Config; from vmafarm.common.interrupts import heard; "
        "from vmafarm.cluster.slurm import Slurm; from vmafarm.cluster.submit import submit\n"
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with heard(): submit(Config.model_validate_json(sys.argv[1]), Slurm())"
    )
    said = subprocess.run(
        [sys.executable, "-c", submit_it, run.config.model_dump_json()],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith(f"stopped while jobs were being queued: {queued}")
    assert said.stderr.endswith("; vmafarm cancel, then vmafarm retry\n")
    assert said.stderr.count("\n") == 1


@pytest.mark.parametrize("printed", [False, True])
def test_an_interrupt_once_all_jobs_are_queued_says_that_they_are(cluster, tmp_path, printed):
    """The same command would be refused: the run is in the queue."""
    run = planned(tmp_path / "runs")
    submit_it = f"""if True:
        import os, signal, sys
        import vmafarm.cluster.submit
        from vmafarm.config.load import Config
        from vmafarm.common.interrupts import heard
        from vmafarm.cluster.slurm import Slurm

        def interrupt(*_, **__):
            os.kill(os.getpid(), signal.SIGINT)

        def replace(one, replace=vmafarm.cluster.submit.replace, **what):
            return interrupt() if "submission" in what and not {printed} else replace(one, **what)

        signal.signal(signal.SIGINT, signal.default_int_handler)
        vmafarm.cluster.submit.replace = replace
        with heard():
            config = Config.model_validate_json(sys.argv[1])
            print(len(vmafarm.cluster.submit.submit(config, Slurm()).lines()) > 0)
            interrupt()
    """
    said = subprocess.run(
        [sys.executable, "-c", submit_it, run.config.model_dump_json()],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (said.returncode, said.stdout) == (1, "True\n" if printed else "")
    assert said.stderr == "stopped, but all jobs are queued: vmafarm status shows them\n"
    assert read_submissions(run.folder)[-1].merge_job


def test_a_retry_of_a_run_whose_merge_was_never_queued_says_so(cluster, runs):
    run = planned(runs)
    cluster.fail("sbatch-13", "sbatch: error: no")
    refusal(UnavailableError, submit, run.config, Slurm())
    cluster.set_queue(*queued(run, *range(5)))
    error = refusal(UsageError, submit, run.config, Slurm(), again=True)
    assert error.message == "everything that is missing waits or runs: slices 0-4"
    assert error.hint.startswith("no merge waits behind 11, 12: ")
    assert "vmafarm cancel, then vmafarm retry" in error.hint


@pytest.mark.parametrize(
    ("character", "what"),
    [("%", "percent sign"), ("\\", "backslash"), ("\n", "line break"), ("\r", "carriage return")],
)
def test_a_run_folder_that_sbatch_cannot_take_is_refused(cluster, tmp_path, character, what):
    run = planned(tmp_path / f"my{character}jobs")
    error = refusal(UsageError, submit, run.config, Slurm())
    assert error.message.startswith(f"the run folder's path contains a {what}, which sbatch cannot take: /")
    assert "\n" not in error.message
    assert not cluster.scripts
    assert not read_submissions(run.folder)


def test_what_the_cluster_has_not_is_refused_before_anything_is_queued(cluster, runs):
    run = planned(runs, partition="gpus")
    assert "no such partition" in refusal(UsageError, submit, run.config, Slurm()).message
    assert not cluster.scripts
    assert not run.folder.submissions.exists()


@pytest.mark.parametrize("program", ["squeue", "sinfo", "scontrol"])
def test_nothing_is_queued_where_slurm_does_not_answer(cluster, runs, program):
    run = planned(runs)
    cluster.fail(program, "Unable to contact slurm controller (connect failure)")
    error = refusal(UnavailableError, submit, run.config, Slurm())
    assert error.message.startswith(f"{program} failed: Unable to contact slurm controller")
    assert not cluster.scripts


def write_sif(path):
    path.write_bytes(b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\x0001\0" + bytes(100))
    return path


def test_elements_start_in_the_image_and_its_digest_is_on_record(cluster, tmp_path, runs):
    image = write_sif(tmp_path / "my image.sif")
    cluster.add_apptainer(version())
    run = planned(runs, image=str(image))
    submitted = submit(run.config, Slurm())
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", submitted.submission.image_digest)
    assert submitted.submission.image == str(image)
    (start,) = [line for line in cluster.scripts["11"].splitlines() if line.startswith("srun ")]
    words = shlex.split(start)
    at = words.index("apptainer")
    assert words[at : at + 5] == ["apptainer", "exec", "--no-home", "--pwd", "/"]
    clips = run.config.corpus.clips
    assert {str(runs), f"{clips}:{clips}:ro", str(image)} <= set(words[at:])
    python = words.index("/opt/venv/bin/python")
    assert words[python + 1 : -2] == ["-E", "-P", "-s", "-X", "utf8", "-u", "-m", "vmafarm.start"]
    assert submitted.command in start


def test_an_image_that_others_could_exchange_is_told_and_one_that_everybody_could_is_refused(
    cluster, tmp_path, runs
):
    (tmp_path / "space").mkdir()
    image = write_sif(tmp_path / "space/x.sif")
    cluster.add_apptainer(version())
    run = planned(runs, image=str(image))
    os.chown(tmp_path / "space", -1, 54321)
    (tmp_path / "space").chmod(0o2775)
    said = []
    submit(run.config, Slurm(), say=said.append)
    told = f"warning: {tmp_path / 'space'} can be written by the group 54321 too: they could change the image"
    assert any(line.startswith(told) for line in said), said
    cluster.set_queue()
    for path in (image, tmp_path / "space"):
        path.chmod(0o777)
        error = refusal(UsageError, submit, run.config, Slurm(), again=True)
        assert error.message.startswith(f"everybody on this machine may write {path}")
        path.chmod(0o755)


def test_auto_is_the_engine_of_the_image_and_the_elements_get_its_name(cluster, tmp_path, runs):
    image = write_sif(tmp_path / "x.sif")
    cluster.add_apptainer(version(), engine="vmaf")
    run = planned(runs, image=str(image))
    run.folder.provenance.unlink(missing_ok=True)
    submitted = submit(run.config, Slurm())
    assert submitted.submission.engine == "vmaf"
    assert submitted.submission.settings["engine.kind"] == "vmaf"
    spec = cluster.specs("11")[0]
    assert spec.config["engine"]["kind"] == "vmaf"


def test_an_image_with_another_engine_than_the_runs_is_refused(cluster, tmp_path, runs):
    image = write_sif(tmp_path / "x.sif")
    cluster.add_apptainer(version(), engine="vmaf")
    run = planned(runs, image=str(image))
    freeze(run.folder.provenance, run.provenance)
    error = refusal(UsageError, submit, run.config, Slurm())
    assert error.message == (
        f'"demo" was begun with the engine ffmpeg; {image} has vmaf, whose rows cannot be mixed with those'
    )
    assert not cluster.scripts


def test_an_image_that_does_not_say_its_engine_is_refused(cluster, tmp_path, runs):
    image = write_sif(tmp_path / "x.sif")
    cluster.add_apptainer(version(), engine="INFO: welcome")
    run = planned(runs, image=str(image))
    assert (
        "which engine it has: INFO: welcome" in refusal(UnavailableError, submit, run.config, Slurm()).message
    )


@pytest.mark.parametrize(
    ("keys", "staged"),
    [
        ({}, True),  # 32 processors, one each
        ({"cpus": 4}, False),
        ({"cpus": 4, "stage": "yes"}, True),
        ({"stage": "no"}, False),
        ({"parallelism": 8}, False),
        ({"partition": "gpu", "gpus": 1}, False),  # four GPUs a node
    ],
)
def test_the_image_is_copied_to_nodes_on_which_many_elements_start(cluster, tmp_path, runs, keys, staged):
    cluster.add_apptainer(version())
    image = write_sif(tmp_path / "x.sif")
    run = planned(runs, image=str(image), **{"cpus": 1, **keys})
    submitted = submit(run.config, Slurm())
    script = cluster.scripts["11"]
    assert ("--stage /tmp" in script) is staged
    assert (submitted.submission.image_digest.removeprefix("sha256:") in script) is staged


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
        "3 nodes have failed, more than 2: probably not the nodes are to blame; no"
    )
    assert "no such model" in error.message
    assert str(run.folder.broken_nodes) in error.hint
    assert not cluster.scripts


def test_a_limit_of_submitted_jobs_is_kept(cluster, runs):
    cluster.set_limits(associations="20|normal", qos="normal|9\nlong|3")
    cluster.set_queue((name_of(planned(runs, 12)), "7|7|N/A|RUNNING|None|node1"))
    run = planned(runs.parent / "others", 12)
    submitted = submit(run.config, Slurm())
    # Nine, and all of the user's jobs count: here squeue shows none, for it is asked for no name.
    assert [len(submitted.submission.elements), cluster.options("12")["array"]] == [3, "0-2%3"]
    assert slices_of(cluster, "11", 3) == [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]
    tight = refusal(UsageError, submit, planned(runs.parent / "more", 12, max_jobs=2).config, Slurm())
    assert tight.message.startswith("2 more jobs may be in the queue, but 3 are needed")


def test_the_starter_is_the_submissions_own_copy(cluster, runs):
    run = planned(runs)
    submit(run.config, Slurm())
    starter = run.folder.logs / "element-00001.sh"
    assert starter.read_text() == (data_folder("containers") / "element.sh").read_text()
    words = shlex.split(next(line for line in cluster.scripts["11"].splitlines() if line.startswith("srun ")))
    assert words[words.index("sh") :][:6] == starter_command(starter.absolute())
    merge = next(line for line in cluster.scripts["15"].splitlines() if line.startswith("srun "))
    assert str(starter.absolute()) not in shlex.split(merge)


def test_an_image_that_is_missing_or_none_is_refused(cluster, tmp_path):
    cluster.add_apptainer(version())
    (tmp_path / "text.sif").write_text("x" * 100)
    for name, problem in (
        ("none.sif", "cannot read the image {}: No such file or directory"),
        ("text.sif", "{} is not an Apptainer image (SIF)"),
        ("cluster", "cannot read the image {}: this is a folder, expected a regular file"),
    ):
        error = refusal(UsageError, check_image, str(tmp_path / name))
        assert error.message == problem.format(tmp_path / name)
        assert "vmafarm image" in error.hint


def test_an_image_of_another_version_is_refused(cluster, tmp_path):
    cluster.add_apptainer("0.0.1")
    image = write_sif(tmp_path / "x.sif")
    error = refusal(UsageError, check_image, str(image))
    assert error.message == f"{image} holds vmafarm 0.0.1, this is {version()}"


def test_an_image_that_does_not_start_is_named_with_the_reason(cluster, tmp_path, monkeypatch):
    image = write_sif(tmp_path / "x.sif")
    cluster.add_apptainer("FATAL: no user namespaces", status=255)
    error = refusal(UnavailableError, check_image, str(image))
    assert "apptainer exec failed: FATAL: no user namespaces" in error.message
    cluster.add_program("apptainer", "#!/bin/sh\nexec sleep 30\n")
    monkeypatch.setattr(apptainer, "_ASK_SECONDS", 0.2)
    assert "gave no answer within" in refusal(UnavailableError, check_image, str(image)).message
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apptainer is not there" in refusal(UnavailableError, check_image, str(image)).message


def test_the_command_submits_asks_and_cancels(cluster, tmp_path):
    names = [f"c{number}.mp4" for number in range(3)]
    (tmp_path / "clips").mkdir()
    for name in names:
        (tmp_path / "clips" / name).write_bytes(b"x" * 10)
    command.write_scores(tmp_path / "scores.csv", names)
    options = command.corpus("--set", "slices.count=3")
    said = command.vmafarm("submit", *options, cwd=tmp_path).stdout
    assert "submitted 3 slices: 0-2\njobs 11, 12, 13, 14, 15 called vmafarm-k150k-" in said
    refused = command.vmafarm("submit", *options, "--set", "slurm.partition=x", cwd=tmp_path, status=2)
    assert refused.stderr == (
        "error: slurm.partition = 'x': the cluster has no such partition\n  it has: cpu, gpu, short\n"
    )
    assert command.vmafarm("cancel", cwd=tmp_path).stdout == "no jobs of this run wait or run\n"
    dry = command.vmafarm("retry", "--dry-run", cwd=tmp_path).stdout
    assert "#SBATCH --array=0-2%3" in dry
    assert dry.endswith(
        "elements of each array: round 1: 3; round 2: 3; clips that fail on one node, on another: 1 + 1\n"
        "nothing queued (--dry-run)\n"
    )
    cluster.fail("sbatch", "sbatch: error: Batch job submission failed: Access denied")
    failed = command.vmafarm("retry", cwd=tmp_path, status=3)
    assert failed.stderr.startswith("error: sbatch refuses: sbatch: error: Batch job submission failed: Acc")
    assert list(cluster.scripts) == ["11", "12", "13", "14", "15"]


def test_the_merge_job_says_what_is_missing_and_publishes_what_is_complete(runs, capsys):
    run = planned(runs, 2)
    finish(run, 0)
    with pytest.raises(SystemExit) as failed:
        merge_on_node(run.config.model_dump())
    assert failed.value.code == 1
    assert "1 of 2 clips are missing" in capsys.readouterr().out
    assert not run.folder.table.exists()
    finish(run, 1)
    merge_on_node(run.config.model_dump())
    assert run.folder.table.exists()
    assert run.folder.report.exists()
    assert "\nchecks           34 checks" in capsys.readouterr().out
