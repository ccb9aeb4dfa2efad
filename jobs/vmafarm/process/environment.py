"""An environment without the variables that change what SLURM's programs and containers do."""

from __future__ import annotations

from collections.abc import Mapping

_PREFIXES = (
    "SLURM_", "SLURMD_", "SBATCH_", "SALLOC_", "SRUN_", "SQUEUE_", "SINFO_", "SACCT_", "SCANCEL_",
    "SCONTROL_", "APPTAINER_", "APPTAINERENV_", "SINGULARITY_", "SINGULARITYENV_", "PYTHON", "PYXIS_",
    "ENROOT_",
)  # fmt: skip
"""A job, an Open OnDemand session or a site's profile sets them. They filter what is seen, override what was
requested, pin processes to the processors of another job, or keep a container from starting."""
_KEPT = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")
"""They say which cluster there is and who asks: https://slurm.schedmd.com/jwt.html for SLURM_JWT."""
_KEPT_PREFIX = "SLURM_SACK_"
"""Credentials of auth/slurm: https://slurm.schedmd.com/authentication.html."""


def without_foreign(environment: Mapping[str, str]) -> dict[str, str]:
    """Take out what a job, a session or a profile has set for SLURM, containers and Python.

    Parameters
    ----------
    environment
        Such as ``os.environ``.

    Returns
    -------
    dict
        A copy with the other variables, and with those that name the cluster.
    """
    return {key: value for key, value in environment.items() if not is_foreign(key)}


def is_foreign(name: str) -> bool:
    """Whether `without_foreign` takes a variable out."""
    return name.startswith(_PREFIXES) and name not in _KEPT and not name.startswith(_KEPT_PREFIX)
