"""What SLURM's programs and containers get of the environment that a verb is started in."""

from __future__ import annotations

import pytest

from vmafarm.process.environment import without_foreign


@pytest.mark.parametrize(
    "name",
    [
        "SLURM_JOB_ID", "SLURM_MEM_PER_CPU", "SLURM_EXPORT_ENV", "SLURM_CPU_BIND", "SBATCH_EXPORT",
        "SBATCH_ARRAY_INX", "SBATCH_JOB_NAME", "SQUEUE_STATES", "SQUEUE_FORMAT", "SINFO_FORMAT",
        "SACCT_FORMAT", "SCANCEL_STATE", "SALLOC_PARTITION", "SRUN_CPUS_PER_TASK", "APPTAINER_BIND",
        "APPTAINER_CLEANENV", "SINGULARITY_CONTAINALL", "APPTAINERENV_PATH", "PYTHONPATH", "PYTHONHOME",
        "PYXIS_X", "ENROOT_X",
    ],
)  # fmt: skip
def test_what_a_job_a_session_or_a_profile_sets_is_taken_out(name):
    assert without_foreign({name: "1", "HOME": "/home/a"}) == {"HOME": "/home/a"}


@pytest.mark.parametrize(
    "name", ["PATH", "SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT", "SLURM_SACK_KEY", "MODULEPATH", "VMAFARM_X"]
)
def test_what_names_the_cluster_and_who_asks_stays(name):
    assert without_foreign({name: "1"}) == {name: "1"}
