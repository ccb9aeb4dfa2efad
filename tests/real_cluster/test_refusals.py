"""What cannot work on a real cluster is reported in one message, before anything is queued."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest
from real_site import CLIPS, Site, setting
from real_slurm import CHECKOUT, Daemons, as_user, give_to_user, wait_until


def refusal(site: Site, *more: str | Path, status: int, run: str = "refused") -> str:
    """The one message that submit ends with."""
    said = site.vmafarm("submit", run, *more, status=status)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, said
    assert not site.queued(run)
    return " ".join(said[said.index("error: ") :].split())


def test_a_machine_without_sbatch(site: Site, shared: Path) -> None:
    words = ("submit", "--config", site.config, "--run", "refused")
    said = as_user(CHECKOUT / ".venv/bin/vmafarm", *words, environment={"PATH": str(shared)})
    assert said.returncode == 3
    assert "error: this machine has no SLURM: no program sbatch" in said.stderr
    assert "vmafarm run" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_partition_that_is_not_there(site: Site) -> None:
    said = refusal(site, *setting("slurm.partition", "gpus"), status=2)
    assert "slurm.partition = 'gpus': the cluster has no such partition" in said
    assert "it has: cpu, gpu, short, low, high" in said


def test_a_time_above_the_partitions_limit(site: Site) -> None:
    said = refusal(site, *setting("slurm.partition", "short"), status=2)
    assert "slurm.time = 10 minutes: partition short allows 5" in said


@pytest.mark.cluster(small_arrays=True, gpus=False)
def test_gpus_where_there_are_none(site: Site) -> None:
    said = refusal(site, *setting("slurm.gpus", 1), status=2)
    assert "GPUs are requested (slurm.gpus, slurm.gres), but partition cpu has none" in said


def test_more_gpus_than_a_node_has(site: Site) -> None:
    said = refusal(site, *setting("slurm.gpus", 2), status=2)
    assert "an element requests 2 GPUs, a node of partition cpu has 1" in said


def test_an_account_that_is_not_there(site: Site, facts) -> None:
    if not facts.accounting:
        return  # there, any account will do
    said = refusal(site, *setting("slurm.account", "nobody"), status=3)
    assert "sbatch refuses: " in said
    assert "Invalid account" in said


def test_an_image_that_is_not_there(site: Site) -> None:
    said = refusal(site, *setting("slurm.image", f"{site.folder}/no.sif"), status=2)
    assert "no.sif" in said


def test_an_image_that_is_none(site: Site) -> None:
    said = refusal(site, *setting("slurm.image", f"{site.folder}/scores.csv"), status=2)
    assert "scores.csv" in said
    assert "SIF" in said


@pytest.fixture
def other_version(shared: Path) -> Path:
    """An image with nothing but a shell, which says that it holds another version."""
    root = shared / "root"
    for name in ("bin", "opt/venv/bin", "proc", "sys", "dev", "tmp", "etc", "var/tmp", "root", "home"):
        (root / name).mkdir(parents=True)
    libraries = subprocess.run(["ldd", "/bin/dash"], capture_output=True, text=True, check=True).stdout
    for path in ("/bin/dash", *(word for word in libraries.split() if word.startswith("/"))):
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).write_bytes(Path(path).read_bytes())
        (root / path[1:]).chmod(0o755)
    (root / "bin/sh").symlink_to("dash")
    (root / "opt/venv/bin/python").write_text("#!/bin/sh\necho 0.0.9+0123456789ab\n")
    (root / "opt/venv/bin/python").chmod(0o755)
    give_to_user(shared)
    made = as_user("apptainer", "build", shared / "other.sif", root, cwd=shared)
    assert made.returncode == 0, made.stderr
    return shared / "other.sif"


def test_an_image_of_another_version(site: Site, other_version: Path) -> None:
    said = refusal(site, *setting("slurm.image", str(other_version)), status=2)
    assert "holds vmafarm 0.0.9+0123456789ab, this is" in said
    assert "build the image again (vmafarm image)" in said


def test_a_run_folder_that_cannot_be_written(site: Site, shared: Path) -> None:
    (shared / "runs").mkdir()  # root's
    said = refusal(site, *setting("run.root", f"{shared}/runs"), status=3)
    assert f"{shared}/runs" in said
    assert "ermission denied" in said


def test_a_run_folder_that_can_no_longer_be_written(site: Site) -> None:
    site.vmafarm("plan", "closed")
    folder = site.run_folder("closed").path
    folder.chmod(0o555)
    said = refusal(site, status=3, run="closed")
    assert "ermission denied" in said
    folder.chmod(0o755)


def test_a_run_that_is_already_queued_and_a_complete_one(site: Site, expected: bytes) -> None:
    slowly = site.slowly(1)
    site.vmafarm("submit", "twice", *slowly)
    before = site.queued("twice")
    said = site.vmafarm("submit", "twice", *slowly, status=2)
    assert 'the run "twice" is in the queue already: slices ' in said
    said = site.vmafarm("retry", "twice", status=2)
    assert "everything that is missing waits or runs: slices " in " ".join(said.split())
    assert len(site.queued("twice")) <= len(before)
    assert site.wait_for_table("twice") == expected
    said = site.vmafarm("submit", "twice", *slowly, status=2)
    assert 'nothing is missing: every clip of "twice" has a row or has failed for good' in said


def test_a_cluster_whose_authentication_does_not_work(site: Site, daemons: Daemons) -> None:
    with daemons.gone("munged"):
        said = site.vmafarm("submit", "refused", status=3)
    assert said.count("error: ") >= 1
    assert "munge authentication does not work on this machine" in said


def test_a_cluster_without_its_controller(site: Site, daemons: Daemons) -> None:
    site.vmafarm("plan", "controller")
    with daemons.gone("slurmctld"):
        said = site.vmafarm("submit", "controller", status=3)
        status = site.look("controller")
    assert "slurmctld cannot be reached" in said
    assert (status["done"], status["missing"]) == (0, CLIPS), "the disk tells as much as ever"


def test_a_controller_that_answers_late_is_waited_for(site: Site, expected: bytes, daemons: Daemons) -> None:
    wakes = threading.Event()

    def stop_for_a_while() -> None:
        with daemons.silent("slurmctld"):
            wakes.wait(6)

    late = threading.Thread(target=stop_for_a_while)
    late.start()
    site.vmafarm("submit", "late")
    late.join()
    site.vmafarm("cancel", "late")
    wait_until(lambda: not site.queued("late"), 60, "nothing is left in the queue")


def test_a_controller_that_does_not_answer(site: Site, daemons: Daemons) -> None:
    with daemons.silent("slurmctld"):
        said = site.vmafarm("submit", "refused", status=3)
    assert "error: squeue " in said
