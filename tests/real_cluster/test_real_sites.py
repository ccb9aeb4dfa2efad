"""Sites as they are: whole nodes, hidden partitions, jobs of several nodes, other containers."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from real_site import CLIPS, THREE_ELEMENTS, Site, setting
from real_slurm import CHECKOUT, IMAGES, as_user, wait_until

VMAFARM = CHECKOUT / ".venv" / "bin" / "vmafarm"
HOSTILE = {
    "SBATCH_JOB_NAME": "mine", "SBATCH_ARRAY_INX": "5-9", "SBATCH_EXPORT": "NONE",
    "SLURM_EXPORT_ENV": "NONE", "SBATCH_PARTITION": "none", "SQUEUE_STATES": "COMPLETED",
    "SQUEUE_PARTITION": "none", "SINFO_FORMAT": "%x",
    "SCANCEL_STATE": "RUNNING", "SACCT_FORMAT": "JobName", "SLURM_CPU_BIND": "map_cpu:63",
    "SLURM_MEM_PER_CPU": "1", "APPTAINER_BIND": "/gone", "APPTAINER_CLEANENV": "1",
    "APPTAINER_CONTAINALL": "1", "PYTHONPATH": "/gone", "PYTHONHOME": "",
    "SLURM_NTASKS": "4", "SLURM_NNODES": "2",
}  # fmt: skip
NO_MEMORY = (*setting("slurm.mem", ""), *setting("slurm.merge.mem", ""))


def each_ran_once(site: Site, run: str) -> None:
    """No element has started twice, and every clip was scored once."""
    elements = site.elements(run)
    keys = [(one.job, one.index) for one in elements]
    assert len(keys) == len(set(keys)), keys
    assert sum(one.done for one in elements) == CLIPS


@pytest.mark.cluster(whole_nodes=True)
def test_from_within_a_job_with_a_hostile_shell_jobs_of_two_whole_nodes_give_the_bytes_of_a_run_here(
    site: Site, expected: bytes
) -> None:
    variables = [f"{name}={value}" for name, value in HOSTILE.items()]
    submit = [VMAFARM, "submit", "--config", site.config, "--run", "whole"]
    more = (*setting("slurm.nodes", 2), *setting("slurm.parallelism", 4), *NO_MEMORY)
    said = site.command("srun", "--quiet", "--nodes=1", "--ntasks=1", "env", *variables, *submit, *more)
    assert "warning: not passed on: SBATCH_PARTITION: set slurm.partition" in said
    assert site.wait_for_table("whole") == expected
    each_ran_once(site, "whole")
    (submission,) = site.submissions("whole")
    assert {array.tasks for array in submission.arrays if array.share == "ordinary"} == {2}
    nodes: dict[int, set[str]] = {}
    for one in site.elements("whole"):
        if one.job == submission.arrays[0].job:
            nodes.setdefault((one.index or 0) // 2, set()).add(one.node)
    assert {len(of_job) for of_job in nodes.values()} == {2}, "each element has a node of its own"


@pytest.mark.cluster(whole_nodes=True)
def test_an_element_with_one_cpu_of_a_whole_node_runs_once(site: Site, expected: bytes) -> None:
    site.vmafarm("submit", "one-cpu", *THREE_ELEMENTS, *NO_MEMORY, *setting("extract.workers", "auto"))
    assert site.wait_for_table("one-cpu") == expected
    each_ran_once(site, "one-cpu")
    assert {one.at_once for one in site.elements("one-cpu")} == {1}, "not one for each CPU of the node"
    assert len(list(site.run_folder("one-cpu").merge_jobs.glob("*.json"))) == 1


@pytest.mark.cluster(whole_nodes=True)
def test_a_memory_request_that_the_site_refuses_is_one_message(site: Site) -> None:
    said = site.vmafarm("submit", "memory", status=3)
    assert "memory requests (--mem) are not allowed here" in said
    assert 'slurm.mem = ""' in said
    assert not site.queued("memory")


@pytest.mark.cluster(whole_nodes=True)
def test_a_site_without_arrays_gets_one_job_of_several_nodes(site: Site, expected: bytes) -> None:
    more = (*setting("slurm.nodes", 3), *setting("slurm.max_array_size", 1), *NO_MEMORY)
    said = site.vmafarm("submit", "single", *more, "--dry-run")
    assert "#SBATCH --array" not in said
    site.vmafarm("submit", "single", *more)
    assert site.wait_for_table("single") == expected
    each_ran_once(site, "single")


def test_singularity_gives_the_same_bytes(site: Site, expected: bytes) -> None:
    site.vmafarm("submit", "singularity", *setting("slurm.container", "singularity"), *THREE_ELEMENTS)
    assert site.wait_for_table("singularity") == expected


def test_pyxis_gives_the_same_bytes(site: Site, expected: bytes, shared: Path) -> None:
    """A stand-in for srun with pyxis: it takes the documented options, and starts the image in a step."""
    listed = site.command("apptainer", "sif", "list", IMAGES / "cpu.sif")
    (first,) = re.findall(r"\|(\d+)-\d+ +\|FS \(Squashfs/", listed)
    image = shared / "cpu.sqsh"
    with (IMAGES / "cpu.sif").open("rb") as sif, image.open("wb") as file:
        sif.seek(int(first))
        shutil.copyfileobj(sif, file)
    srun = shared / "srun"
    srun.write_text(_SRUN_WITH_PYXIS)
    srun.chmod(0o755)
    more = (*setting("slurm.container", "pyxis"), *setting("slurm.image", str(image)), *THREE_ELEMENTS)
    said = site.vmafarm("submit", "pyxis", *more, status=3)
    assert "srun has no option --container-image: this cluster does not have pyxis" in said
    command = [VMAFARM, "submit", "--config", site.config, "--run", "pyxis", *more]
    command += setting("slurm.setup", [f"export PATH={shared}:$PATH"])
    ended = as_user(*command, cwd=site.folder, environment={"PATH": f"{shared}:/usr/bin:/bin"})
    assert ended.returncode == 0, ended.stderr
    assert site.wait_for_table("pyxis") == expected
    (submission,) = site.submissions("pyxis")
    assert submission.engine == "ffmpeg"


_SRUN_WITH_PYXIS = """#!/bin/sh
image="" mounts="" options="" next=""
if [ "$*" = --help ]; then
    /usr/bin/srun --help
    echo "      --container-image=[USER@][REGISTRY#]IMAGE[:TAG]|PATH"
    exit
fi
for word; do
    [ -z "$next" ] || { image=$word next=""; shift; continue; }
    case $word in
        --container-image) next=yes ;;
        --container-image=*) image=${word#*=} ;;
        --container-mounts=*) mounts=${word#*=} ;;
        --no-container-mount-home | --container-workdir=*) ;;
        --*) options="$options $word" ;;
        *) break ;;
    esac
    shift
done
[ -n "$image" ] || exec /usr/bin/srun $options "$@"
exec /usr/bin/srun $options apptainer exec --no-home --pwd / --bind "$mounts" "$image" "$@"
"""


def test_a_command_is_told_how_the_merge_has_ended(site: Site, expected: bytes) -> None:
    told = site.folder / "told.json"
    site.vmafarm("submit", "notify", *setting("slurm.notify", f"cat > {told}; exit 7"), *THREE_ELEMENTS)
    assert site.wait_for_table("notify") == expected
    outcome = json.loads(told.read_text())
    assert (outcome["run"], outcome["outcome"], outcome["reasons"]) == ("notify", "published", [])
    assert outcome["table"] == str(site.table("notify"))
    assert outcome["job"] == site.submissions("notify")[-1].merge_job
    assert "slurm.notify failed: exit status 7" in " ".join(site.vmafarm("status", "notify").split())
    site.vmafarm("status", "notify", "--watch")  # ends with 0: the outcome of the merge is what it was


def test_jobs_that_will_never_start_and_a_merge_that_is_gone_are_told(site: Site, expected: bytes) -> None:
    later = ("--set", 'slurm.extra={begin="now+1hour"}')
    site.vmafarm("submit", "held", *later, *THREE_ELEMENTS)
    (submission,) = site.submissions("held")
    site.command("scontrol", "hold", submission.arrays[0].job)

    def reasons() -> dict[str, str]:
        return {one["reason"]: one["hint"] for one in site.look("held")["pending"]}

    wait_until(lambda: "JobHeldUser" in reasons(), 30, "squeue gives the reason")
    assert "scontrol release" in reasons()["JobHeldUser"]
    assert reasons()["Dependency"] == ""
    assert "will not start by itself" in " ".join(site.vmafarm("status", "held").split())
    site.command("scancel", *submission.jobs())
    wait_until(lambda: not site.queued("held"), 60, "they have gone from the queue")
    assert "no job is left that would publish the table: vmafarm retry" in " ".join(
        site.vmafarm("status", "held").split()
    )
    site.vmafarm("retry", "held", *THREE_ELEMENTS)
    assert site.wait_for_table("held") == expected


def test_a_wrapper_of_sbatch_with_a_banner_is_understood(site: Site, expected: bytes, shared: Path) -> None:
    sbatch = shared / "sbatch"
    banner = "echo Your last job 7 has used 12 units"
    sbatch.write_text(f'#!/bin/sh\n{banner}\n/usr/bin/sbatch "$@"\necho Good luck\n')
    sbatch.chmod(0o755)
    command = [VMAFARM, "submit", "--config", site.config, "--run", "wrapped", *THREE_ELEMENTS]
    ended = as_user(*command, cwd=site.folder, environment={"PATH": f"{shared}:/usr/bin:/bin"})
    assert ended.returncode == 0, ended.stderr
    assert site.wait_for_table("wrapped") == expected
