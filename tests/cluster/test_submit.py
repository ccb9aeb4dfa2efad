"""Submitting to a fake SLURM: the jobs, their scripts, and the work that they start."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest
from support import command
from support.fake_slurm import finish, name_of, planned
from support.submitting import refusal, slices_of

from vmafarm.cluster import slurm_programs
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.submit import NothingToSubmitError, preview, submit
from vmafarm.common.errors import UsageError
from vmafarm.common.package import data_folder
from vmafarm.config.sections import Config
from vmafarm.images.command import starter_command
from vmafarm.process.run import ask
from vmafarm.process.toolkit import version
from vmafarm.publish import merge_on_node
from vmafarm.query.checks import usual_checks
from vmafarm.run_folder.at_work import at_work
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.submissions import Array, read_submissions


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
    assert error.message == f"slurm.environment: {key!r} is not a valid environment variable name"
    assert not cluster.scripts


def test_more_slices_than_the_largest_array_has_elements_share_them(cluster, runs):
    cluster.set_max_array_size(101)
    run = planned(runs, 153, rounds=1, parallelism=64)
    submitted = submit(run.config, Slurm())
    assert cluster.options("11")["array"] == "0-99%64"
    assert sorted(slices_of(cluster, "11", 100)) == list(range(153))
    assert submitted.submission.arrays[0] == Array("11", 0, 0, 100, "ordinary")
    assert submitted.submission.slices_of("11", 0) == cluster.specs("11")[0].slices
    assert submitted.lines()[0] == "submitted 153 slices in 100 elements: 0-152"


def test_a_later_round_keeps_to_the_largest_array_too(cluster, runs):
    cluster.set_max_array_size(3)
    submit(planned(runs).config, Slurm())
    assert [cluster.options(job).get("dependency") for job in cluster.scripts] == [
        None, "afterany:11", "afterany:11", "afterany:11:12:13", "afterany:11:12:13:14",
    ]  # fmt: skip
    assert slices_of(cluster, "11", 2) == [0, 2, 4, 1, 3]
    assert slices_of(cluster, "12", 2) == [0, 2, 4, 1, 3]


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
    error = refusal(NothingToSubmitError, submit, run.config, Slurm(), again=True)
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
    said = command.call("submit", "--dry-run", *command.corpus(*words), cwd=tmp_path).stdout
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


def test_the_command_submits_asks_and_cancels(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm_programs, "ask", ask)  # which starts the programs as for users
    names = [f"c{number}.mp4" for number in range(3)]
    (tmp_path / "clips").mkdir()
    for name in names:
        (tmp_path / "clips" / name).write_bytes(b"x" * 10)
    command.write_scores(tmp_path / "scores.csv", names)
    options = command.corpus("--set", "slices.count=3")
    said = command.call("submit", *options, cwd=tmp_path).stdout
    assert "submitted 3 slices: 0-2\njobs 11, 12, 13, 14, 15 called vmafarm-clips-" in said
    refused = command.call("submit", *options, "--set", "slurm.partition=x", cwd=tmp_path, status=2)
    assert refused.stderr == (
        "error: slurm.partition = 'x': the cluster has no such partition\n  it has: cpu, gpu, short\n"
    )
    assert command.call("cancel", cwd=tmp_path).stdout == "no jobs of this run wait or run\n"
    dry = command.call("retry", "--dry-run", cwd=tmp_path).stdout
    assert "#SBATCH --array=0-2%3" in dry
    assert dry.endswith(
        "array elements: round 1: 3; round 2: 3; clips that fail on one node, on another: 1 + 1\n"
        "nothing queued (--dry-run)\n"
    )
    cluster.fail("sbatch", "sbatch: error: Batch job submission failed: Access denied")
    failed = command.call("retry", cwd=tmp_path, status=3)
    told, error = failed.stderr.splitlines()[:2]
    assert told == 'run "clips", the only one in runs'
    assert error.startswith("error: sbatch refuses: sbatch: error: Batch job submission failed: Acc")
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
    assert f"\nchecks           {len(usual_checks())} checks" in capsys.readouterr().out


def test_gpus_that_would_be_idle_and_charged_are_a_warning_of_the_submission(cluster, runs, standin):
    run = planned(runs, partition="gpu", gpus=4)
    run.folder.provenance.unlink()  # nothing was scored yet, by no engine
    engine = {"kind": "vmaf", "backend": "cuda", "vmaf": str(standin)}
    config = run.config.model_copy(
        update={
            "engine": run.config.engine.model_copy(update=engine),
            "extract": run.config.extract.model_copy(update={"workers": 2}),
        }
    )
    said: list[str] = []
    submit(config, Slurm(), say=said.append)
    assert [line for line in said if "GPUs are idle, and charged" in line] == [
        "warning: each element requests 4 GPUs and scores 2 clips at once (extract.workers): "
        "2 GPUs are idle, and charged"
    ]


def test_a_sample_is_submitted_and_merged_by_itself_and_the_run_goes_on_with_the_rest(cluster, tmp_path):
    names = [f"c{number}.mp4" for number in range(5)]
    (tmp_path / "clips").mkdir()
    for name in names:
        (tmp_path / "clips" / name).write_bytes(b"x" * 10)
    command.write_scores(tmp_path / "scores.csv", names)
    options = command.corpus("--set", "slices.count=5", "--run", "k150k")
    said = command.call("submit", *options, "--limit", "2", cwd=tmp_path).stdout
    assert "2 clips (a sample of 5)" in said
    assert "submitted 2 slices" in said
    folder = RunFolder(tmp_path / "runs", "k150k", 2)
    chosen = load_manifest(folder)
    (made,) = read_submissions(folder)
    assert sorted(made.slices) == sorted(chosen.slices.tolist())
    told = json.loads(
        command.call("status", "--json", "--run", "k150k", "--set", "run.sample=2", cwd=tmp_path).stdout
    )
    assert (told["clips"], told["missing"]) == (2, 2)
    dry = command.call("retry", "--dry-run", "--run", "k150k", cwd=tmp_path).stdout
    assert "#SBATCH --array=0-4%5" in dry


def test_whoever_submits_is_told_of_a_process_that_works_on_the_run(cluster, runs):
    run = planned(runs)
    said: list[str] = []
    with at_work(run.folder, said.append):
        submit(run.config, Slurm(), say=said.append)
    (warning,) = [line for line in said if line.startswith("warning: the run is being worked on: process ")]
    assert f"process {os.getpid()} of " in warning
    said.clear()
    cluster.set_queue()
    submit(run.config, Slurm(), again=True, say=said.append)
    assert not any("worked on" in line for line in said)
