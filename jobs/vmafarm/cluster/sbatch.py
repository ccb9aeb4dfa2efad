"""Options of sbatch, as parameters of submitit's SlurmExecutor: pure decisions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vmafarm.cluster.slurm_answers import Partition
from vmafarm.common.errors import UsageError, show
from vmafarm.common.text import counted
from vmafarm.config.clip_limits import parse_bytes
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.process.job_ids import number_of

SIGNAL_SECONDS = 90
"""How long before the time limit SLURM signals an element to end."""
_LOGS = "logs are in the run's own folder; vmafarm logs shows them"
_NUMBERING = "slices and tasks are numbered by the run itself; vmafarm submit --dry-run shows the script"
_OWN_OPTIONS = {
    "output": _LOGS, "error": _LOGS, "open-mode": _LOGS,
    "array": _NUMBERING, "job-name": "status, retry and cancel find the run's jobs by their name",
    "ntasks": _NUMBERING, "ntasks-per-node": _NUMBERING, "nodes": _NUMBERING,
    "dependency": "rounds and the merge wait for each other",
    "test-only": "vmafarm doctor does that", "wrap": _NUMBERING, "parsable": "vmafarm reads sbatch's answer",
    "wait": "vmafarm status --watch waits", "hold": "a held job never ends, nor does the merge behind it",
    "clusters": "set slurm.cluster", "signal": "elements end in order by it, before the time limit",
    "time": "set slurm.time or slurm.merge.time", "cpus-per-task": "set slurm.cpus or slurm.merge.cpus",
    "partition": "set slurm.partition or slurm.merge.partition", "account": "set slurm.account",
    "qos": "set slurm.qos", "constraint": "set slurm.constraint", "exclude": "set slurm.exclude",
    "gres": "set slurm.gres", "gpus-per-node": "set slurm.gpus",
}  # fmt: skip
"""Options of sbatch that the run sets itself, and what to do instead."""
_ALWAYS_SENT = ("output", "error", "array", "job-name")
"""Of these, the ones without which the run would lose its jobs or their logs."""


def sbatch_parameters(
    section: SlurmSection, job_name: str, parallelism: int, tasks: int = 1
) -> dict[str, Any]:
    """Parameters for the elements.

    Parameters
    ----------
    section
        ``[slurm]``.
    job_name
        Name of the run's jobs.
    parallelism
        Most elements that run at the same time.
    tasks
        Elements of each job, one on each of its nodes.
    """
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
        "array_parallelism": max(1, parallelism // tasks),
        "nodes": tasks,
        **({"ntasks_per_node": 1} if tasks > 1 else {}),
        "signal_delay_s": _signal_seconds(section.time),
        "srun_args": _srun_options(section.cpus, tasks),
        "setup": [*_exports(section.environment), *section.setup],
        "wckey": None,  # submitit would send its own, which a site that enforces wckeys refuses
        "additional_parameters": {"requeue": True, **_with_memory(section.extra, section.mem)},
    }


def merge_parameters(section: SlurmSection, job_name: str, after: Sequence[str]) -> dict[str, Any]:
    """Parameters for the merge job, which runs after these jobs; if there are none, at once."""
    parameters = sbatch_parameters(section, job_name, 1)
    for key in ("gpus_per_node", "gres", "constraint"):
        parameters.pop(key, None)
    if section.merge.partition:
        parameters["partition"] = section.merge.partition
    extra = _with_memory(section.extra | section.merge.extra, section.merge.mem)
    return parameters | {
        "time": section.merge.time,
        "signal_delay_s": _signal_seconds(section.merge.time),
        "cpus_per_task": section.merge.cpus,
        "srun_args": _srun_options(section.merge.cpus, 1),
        "additional_parameters": {"requeue": True, **extra},
        **({"dependency": depend_on(after)} if after else {}),
    }


def _signal_seconds(minutes: int) -> int:
    return min(SIGNAL_SECONDS, minutes * 12)


def _srun_options(cpus: int, tasks: int) -> list[str]:
    """Options of srun for one process on each node, however many processors the job was given.

    Without a number of tasks, srun starts as many as fit into the job's processors: several on a whole node.
    Since SLURM 22.05 it does not inherit --cpus-per-task. With SLURM_EXPORT_ENV=NONE it would
    pass nothing on.
    """
    options = [f"--nodes={tasks}", f"--ntasks={tasks}", f"--cpus-per-task={cpus}", "--export=ALL"]
    # One element that ends early must not end those on the other nodes.
    return [*options, "--ntasks-per-node=1", "--kill-on-bad-exit=0", "--wait=0"] if tasks > 1 else options


def _with_memory(extra: Mapping[str, str | bool], memory: str) -> dict[str, str | bool]:
    """Options with ``--mem``, unless memory is requested in another way; sbatch accepts only one.

    A size as sbatch accepts it: whole numbers only, where GB means GiB.
    """
    others = {name.replace("_", "-") for name in extra}
    if not memory or others & {"mem", "mem-per-cpu", "mem-per-gpu"}:
        return dict(extra)
    size = parse_bytes(memory)
    text = f"{size >> 30}GB" if size % (1 << 30) == 0 else f"{math.ceil(size / (1 << 20))}MB"
    return {"mem": text, **extra}


def depend_on(jobs: Sequence[str]) -> str:
    """Dependency: start when these jobs have ended, however they ended."""
    return "afterany:" + ":".join(map(number_of, jobs))


def _exports(environment: Mapping[str, str]) -> list[str]:
    for key in environment:
        if re.fullmatch(r"[A-Za-z_]\w*", key, re.ASCII) is None:
            raise UsageError(f"slurm.environment: {show(key)!r} is not a valid environment variable name")
    quoted = {key: "'" + value.replace("'", "'\\''") + "'" for key, value in environment.items()}
    return [f"export {key}={value}" for key, value in quoted.items()]


def check_request(section: SlurmSection, partitions: Mapping[str, Partition]) -> None:
    """Refuse what the cluster would refuse or leave pending for ever.

    Raises
    ------
    UsageError
        No such partition, a time limit above the partition's, nodes or GPUs that it does not have, or an
        option in ``extra`` that the run sets itself.
    """
    for key, extra in (("slurm.extra", section.extra), ("slurm.merge.extra", section.merge.extra)):
        for name, value in extra.items():
            _check_extra(key, name, value)
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
                    "set a lower time (the next round continues what it cuts off), or another partition",
                )
    for name in _partitions(section.partition, partitions):
        if section.nodes > (nodes := partitions[name].nodes):
            raise UsageError(
                f"slurm.nodes = {section.nodes}: partition {name} has {counted(nodes, 'node')}",
                "set fewer; a job starts only once all its nodes are free",
            )
        if (section.gpus or section.gres) and "gpu" not in partitions[name].gres:
            raise UsageError(
                f"GPUs are requested (slurm.gpus, slurm.gres), but partition {name} has none",
                "with GPUs: "
                + (", ".join(p.name for p in partitions.values() if "gpu" in p.gres) or "no partition"),
            )
        most = max(partitions[name].gpu_counts(), default=0)
        if most and section.gpu_count > most:
            raise UsageError(
                f"an element requests {section.gpu_count} GPUs, a node of partition {name} has {most}",
                "request fewer (slurm.gpus, slurm.gres); slurm.nodes gives each of several nodes an element",
            )


def _check_extra(key: str, name: str, value: str | bool) -> None:
    """Refuse an option that is the run's own, also under an abbreviation, as getopt_long accepts it."""
    plain = name.replace("_", "-")
    own = plain if plain in _OWN_OPTIONS else next((o for o in _OWN_OPTIONS if o.startswith(plain)), "")
    if plain == "gpus" or not own or (not value and own not in _ALWAYS_SENT):
        return
    raise UsageError(f"{key}.{show(name)}: sbatch --{own} cannot be set there", _OWN_OPTIONS[own])


def left_out(extra: Mapping[str, str | bool]) -> list[str]:
    """Options whose value is empty: the script has no line for them."""
    return [name.replace("_", "-") for name, value in extra.items() if not value]


def chosen(names: str, partitions: Mapping[str, Partition]) -> list[Partition]:
    """Partitions in which elements may run."""
    return [partitions[name] for name in _partitions(names, partitions) if name in partitions]


def _partitions(names: str, partitions: Mapping[str, Partition]) -> list[str]:
    """Names in a list as sbatch accepts it; if it is empty, the cluster's default partition."""
    return names.split(",") if names else [p.name for p in partitions.values() if p.is_default][:1]
