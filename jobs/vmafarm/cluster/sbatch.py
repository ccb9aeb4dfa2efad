"""What is asked of sbatch, as parameters of submitit's SlurmExecutor: pure decisions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vmafarm.cluster.slurm_answers import Partition
from vmafarm.common.errors import UsageError, show
from vmafarm.config.clip_limits import parse_bytes
from vmafarm.config.sections import SlurmSection

SIGNAL_SECONDS = 90
"""So long before the time limit SLURM tells an element to end."""


def sbatch_parameters(section: SlurmSection, job_name: str, parallelism: int) -> dict[str, Any]:
    """Parameters of submitit's SlurmExecutor for the elements."""
    given = {
        "partition": section.partition, "account": section.account, "qos": section.qos,
        "constraint": section.constraint, "exclude": section.exclude, "gres": section.gres,
    }  # fmt: skip
    parameters: dict[str, Any] = {key: value for key, value in given.items() if value}
    if section.gpus and not section.gres:
        parameters["gpus_per_node"] = section.gpus
    return parameters | {
        "job_name": job_name,
        "time": section.time,
        "cpus_per_task": section.cpus,
        "array_parallelism": parallelism,
        "signal_delay_s": _signal_seconds(section.time),
        # From SLURM 22.05 on, srun does not inherit it.
        "srun_args": [f"--cpus-per-task={section.cpus}"],
        "setup": [*_exports(section.environment), *section.setup],
        "additional_parameters": {"mem": _memory(section.mem), "requeue": True, **section.extra},
    }


def merge_parameters(section: SlurmSection, job_name: str, after: Sequence[str]) -> dict[str, Any]:
    """Parameters of the merge job, behind all arrays."""
    parameters = sbatch_parameters(section, job_name, 1)
    for key in ("gpus_per_node", "gres", "constraint"):
        parameters.pop(key, None)
    if section.merge.partition:
        parameters["partition"] = section.merge.partition
    extra = {**parameters["additional_parameters"], "mem": _memory(section.merge.mem)}
    return parameters | {
        "time": section.merge.time,
        "signal_delay_s": _signal_seconds(section.merge.time),
        "cpus_per_task": section.merge.cpus,
        "srun_args": [f"--cpus-per-task={section.merge.cpus}"],
        "additional_parameters": extra,
        "dependency": depend_on(after),
    }


def _signal_seconds(minutes: int) -> int:
    return min(SIGNAL_SECONDS, minutes * 12)


def _memory(text: str) -> str:
    """A size as sbatch takes it: whole numbers only, and GB means GiB."""
    size = parse_bytes(text)
    return f"{size >> 30}GB" if size % (1 << 30) == 0 else f"{math.ceil(size / (1 << 20))}MB"


def depend_on(jobs: Sequence[str]) -> str:
    """Start when these jobs have ended, however they ended."""
    return "afterany:" + ":".join(jobs)


def _exports(environment: Mapping[str, str]) -> list[str]:
    for key in environment:
        if re.fullmatch(r"[A-Za-z_]\w*", key, re.ASCII) is None:
            raise UsageError(f"slurm.environment: {show(key)!r} is no name of an environment variable")
    quoted = {key: "'" + value.replace("'", "'\\''") + "'" for key, value in environment.items()}
    return [f"export {key}={value}" for key, value in quoted.items()]


def check_request(section: SlurmSection, partitions: Mapping[str, Partition]) -> None:
    """Refuse what the cluster would refuse, or would leave waiting for ever.

    Raises
    ------
    UsageError
        No such partition, a time limit above the partition's, GPUs where there are none, or logs elsewhere.
    """
    if odd := section.extra.keys() & {"output", "error"}:
        raise UsageError(
            f"slurm.extra.{min(odd)}: expected other options, since logs lie in the run's own folder logs",
            "leave it out; vmafarm logs shows them",
        )
    for key, names, minutes in (
        ("slurm.partition", section.partition, section.time),
        ("slurm.merge.partition", section.merge.partition or section.partition, section.merge.time),
    ):
        for name in _partitions(names, partitions):
            if name not in partitions:
                raise UsageError(
                    f"{key} = {names!r}: the cluster has no such partition",
                    "it has: " + ", ".join(partitions),
                )
            limit = partitions[name].minutes
            if limit is not None and minutes > limit:
                raise UsageError(
                    f"{key.replace('partition', 'time')} = {minutes} minutes: "
                    f"partition {name} allows {limit}",
                    "a lower time (elements that it ends are continued by the next round), or another "
                    "partition",
                )
    for name in _partitions(section.partition, partitions):
        if (section.gpus or section.gres) and "gpu" not in partitions[name].gres:
            raise UsageError(
                f"GPUs are asked for (slurm.gpus, slurm.gres), but partition {name} has none",
                "with GPUs: "
                + (", ".join(p.name for p in partitions.values() if "gpu" in p.gres) or "no partition"),
            )


def chosen(names: str, partitions: Mapping[str, Partition]) -> list[Partition]:
    """Partitions in which elements may run."""
    return [partitions[name] for name in _partitions(names, partitions) if name in partitions]


def _partitions(names: str, partitions: Mapping[str, Partition]) -> list[str]:
    """Names in a list as sbatch takes it; where it is empty, the cluster's default."""
    return names.split(",") if names else [p.name for p in partitions.values() if p.is_default][:1]
