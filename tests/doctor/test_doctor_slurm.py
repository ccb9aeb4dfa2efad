"""The doctor asks SLURM what a submission needs."""

from __future__ import annotations

import pytest
from support.doctor_helpers import by_name, configure, states
from support.fake_slurm import finish, name_of, planned

from vmafarm import doctor
from vmafarm.cluster import slurm_programs
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.submit import submit
from vmafarm.doctor.check_result import attempt
from vmafarm.doctor.cluster import check_gpus, examine_slurm
from vmafarm.run_folder.manifest import load_manifest


def ask_slurm(config, machine, manifest=None):
    return by_name(examine_slurm(config, Slurm(), machine, manifest or doctor.one_clip()))


def test_a_cluster_that_has_what_is_asked_for_is_fine_and_gets_no_job(cluster, tmp_path, machine):
    section = {"partition": "gpu", "gpus": 2, "account": "vision", "qos": "long", "time": 90}
    config = configure(
        tmp_path, slurm=section | {"merge": {"partition": "cpu"}}, engine={"kind": "vmaf", "backend": "cuda"}
    )
    found = ask_slurm(config, machine)
    assert set(states(found.values()).values()) == {"ok"}
    assert found["partition"].message == "gpu (up to 2,880 minutes, nodes: 4); 90 minutes requested"
    assert found["GPUs"].message == "slurm.gpus = 2"
    assert not cluster.scripts
    assert [call for call in cluster.calls if call.startswith("sbatch")] == ["sbatch --test-only"] * 2
    assert not config.folder.path.exists()
    _, merge = cluster.tested
    assert "#SBATCH --partition=cpu\n" in merge
    assert "dependency" not in merge


def test_the_scripts_that_are_judged_are_those_that_are_submitted(cluster, tmp_path, machine):
    run = planned(tmp_path / "runs", 5, parallelism=3, gpus=2, partition="gpu", account="vision", rounds=1)
    assert ask_slurm(run.config, machine, load_manifest(run.folder))["merge job"].state == "ok"
    elements, merge = cluster.tested
    assert "#SBATCH --array=0-4%3\n" in elements
    jobs = submit(run.config, Slurm()).submission.jobs()
    assert cluster.scripts[jobs[0]] == elements
    wait, *more = [line for line in cluster.scripts[jobs[-1]].splitlines() if line not in merge.splitlines()]
    assert (wait.startswith("#SBATCH --dependency=afterany:"), more) == (True, [])


def test_what_sbatch_would_refuse_is_found_with_its_words(cluster, tmp_path, machine):
    cluster.fail(
        "test-only", "allocation failure: Invalid account or account/partition combination specified"
    )
    found = ask_slurm(configure(tmp_path, slurm={"account": "x"}), machine)
    assert (found["elements"].state, found["elements"].exit_status) == ("failed", 3)
    assert "Invalid account or account/partition combination" in found["elements"].message
    assert found["merge job"].state == "failed"


@pytest.mark.parametrize(
    "reason",
    ["Required node not available (down, drained or reserved)", "Requested nodes are busy"],
)
def test_nodes_that_are_down_or_busy_now_are_a_warning(cluster, tmp_path, machine, reason):
    cluster.fail("test-only", f"allocation failure: {reason}")
    found = ask_slurm(configure(tmp_path), machine)["elements"]
    assert found.state == "warning"
    assert reason in found.message


def test_a_request_that_no_partition_meets_is_wrong_configuration(cluster, tmp_path, machine):
    for section, problem in (
        ({"partition": "gpus"}, "the cluster has no such partition"),
        ({"partition": "short", "time": 60}, "partition short allows 5"),
        ({"partition": "cpu", "gpus": 1}, "partition cpu has none"),
    ):
        found = ask_slurm(configure(tmp_path, slurm=section), machine)
        assert (found["partition"].state, found["partition"].exit_status) == ("failed", 2)
        assert problem in found["partition"].message
        assert found["accounting"].state == "ok"


def test_a_planned_run_is_prepared_as_a_submission_does_it(cluster, tmp_path, machine):
    run = planned(tmp_path / "runs", 5)
    manifest = load_manifest(run.folder)
    found = ask_slurm(run.config, machine, manifest)
    assert found["submission"].message == (f"5 elements, as jobs called {name_of(run)}")
    assert not run.folder.submissions.exists()
    other = run.config.model_copy(update={"engine": run.config.engine.model_copy(update={"kind": "vmaf"})})
    found = ask_slurm(other, machine, manifest)
    assert (found["submission"].state, found["submission"].exit_status) == ("failed", 2)
    assert "was begun with the engine ffmpeg" in found["submission"].message
    assert not {"elements", "merge job"} & found.keys()


def test_of_a_run_without_missing_clips_no_submission_is_judged(cluster, tmp_path, machine):
    run = planned(tmp_path / "runs", 2)
    finish(run, 0, 1)
    found = ask_slurm(run.config, machine, load_manifest(run.folder))["submission"]
    assert (found.state, found.message.partition(":")[0]) == ("skipped", "nothing is missing")
    assert not cluster.tested


def test_limits_of_submitted_jobs_are_reported_and_too_low_ones_fail(cluster, tmp_path, machine):
    cluster.set_limits(associations="7|normal")
    run = planned(tmp_path / "runs", 50)
    found = ask_slurm(run.config, machine, load_manifest(run.folder))
    assert found["limits"].message == "MaxArraySize is 1,001, 7 more jobs may be submitted"
    assert found["submission"].message.startswith("2 elements, as jobs called ")
    cluster.set_limits(associations="2|normal")
    found = ask_slurm(run.config, machine, load_manifest(run.folder))["submission"]
    assert (found.state, found.exit_status) == ("failed", 2)


def test_gpus_are_asked_for_where_they_are_used(tmp_path):
    check = check_gpus
    cuda = {"backend": "cuda"}
    assert check(configure(tmp_path, engine=cuda, slurm={"gres": "gpu:a100:1"})).state == "ok"
    assert check(configure(tmp_path, engine=cuda, slurm={"extra": {"gpus": "1"}})).state == "warning"
    image = configure(tmp_path, engine=cuda, slurm={"image": "x.sif", "extra": {"gpus": "1"}})
    assert attempt("GPUs", lambda: check(image)).exit_status == 2
    assert check(configure(tmp_path, slurm={"gpus": 1})).state == "warning"
    assert check(configure(tmp_path)).state == "skipped"


def test_gpus_that_would_be_idle_and_charged_are_a_warning(tmp_path):
    def check(workers, **slurm):
        return check_gpus(
            configure(tmp_path, engine={"backend": "cuda"}, extract={"workers": workers}, slurm=slurm)
        )

    found = check(2, gpus=4)
    assert found.state == "warning"
    assert found.message == (
        "each element requests 4 GPUs and scores 2 clips at once (extract.workers): "
        "2 GPUs are idle, and charged"
    )
    assert "1 GPU is idle" in check(1, gres="gpu:a100:2").message
    assert check("auto", gpus=4, cpus=2).state == check(4, gpus=4).state == "ok"


def test_a_cluster_without_accounts_is_fine_and_says_so(cluster, tmp_path, machine):
    cluster.fail("sacct", "Slurm accounting storage is disabled")
    found = ask_slurm(configure(tmp_path), machine)["accounting"]
    assert (found.state, "from the run folder" in found.message) == ("ok", True)


def test_accounting_that_does_not_answer_is_a_warning_that_says_what_is_lost(cluster, tmp_path, machine):
    cluster.fail("sacct", "sacct: error: slurm_persist_conn_open: Connection refused\nsacct: error: down")
    found = ask_slurm(configure(tmp_path), machine)["accounting"]
    assert (found.state, found.exit_status) == ("warning", 0)
    assert found.message.startswith("sacct failed: ")
    assert "status does not show why SLURM ended elements" in found.hint
    assert "slurm.max_jobs" in found.hint


def test_a_controller_that_does_not_answer_is_asked_once(cluster, tmp_path, machine, monkeypatch):
    monkeypatch.setattr(slurm_programs, "ANSWER_SECONDS", 0.2)
    cluster.answer_late("squeue")
    found = ask_slurm(configure(tmp_path), machine)
    assert list(found) == ["SLURM"]
    assert (found["SLURM"].state, found["SLURM"].exit_status) == ("failed", 3)
    assert "gave no answer" in found["SLURM"].message
    assert len(cluster.calls) == 1


def test_where_no_cluster_was_asked_for_the_hint_names_the_way_without_one(cluster, tmp_path, machine):
    cluster.fail("squeue", "squeue: fatal: Could not establish a configuration source")
    assert "without a cluster: vmafarm run" in ask_slurm(configure(tmp_path), machine)["SLURM"].hint
    wanted = configure(tmp_path, slurm={"partition": "gpu"})
    assert "without a cluster" not in ask_slurm(wanted, machine)["SLURM"].hint


def test_slurm_that_is_not_there_matters_only_where_it_is_asked_for(tmp_path, machine, no_slurm):
    assert ask_slurm(configure(tmp_path), machine)["SLURM"].state == "skipped"
    wanted = configure(tmp_path, slurm={"partition": "gpu"})
    found = ask_slurm(wanted, machine)["SLURM"]
    assert (found.state, found.exit_status) == ("failed", 3)
    assert found.message == "this machine has no SLURM: no program sbatch"
    machine.build.write_text('{"version": "1"}')
    assert ask_slurm(wanted, machine)["SLURM"].state == "skipped"
