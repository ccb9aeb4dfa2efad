"""What a submission consists of: pure decisions, and its record in the run folder."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from jobs import durable
from jobs.durable import read_json_lines
from jobs.errors import UsageError, show
from jobs.run_folder import RunFolder
from jobs.settings import SlurmSection
from jobs.slurm import Partition

SIGNAL_SECONDS = 90
"""So long before the time limit SLURM tells an element to end."""


@dataclass(frozen=True)
class Array:
    """One SLURM array of a submission.

    Attributes
    ----------
    job
        Its id.
    round
        0 for the first; later ones do what is missing then.
    offset, count
        Its elements 0..count-1 are the submission's slices offset..offset+count-1.
    """

    job: str
    round: int
    offset: int
    count: int


@dataclass(frozen=True)
class Submission:
    """One call of submit or retry.

    Attributes
    ----------
    number
        From 1.
    job_name
        The same for all jobs of a run, and of no other.
    slices
        Immutable; maps an array's index to its slice.
    version
        Of the toolkit.
    image, image_digest
        The SIF, or "" without a container.
    settings
        The configuration that may change between submissions.
    arrays, merge_job
        Jobs as they were queued; what is missing here was not queued.
    """

    number: int
    job_name: str
    slices: tuple[int, ...]
    version: str
    image: str
    image_digest: str
    settings: Mapping[str, Any]
    arrays: tuple[Array, ...] = ()
    merge_job: str = ""

    def jobs(self) -> list[str]:
        """Ids of all its jobs."""
        return [array.job for array in self.arrays] + ([self.merge_job] if self.merge_job else [])

    def slice_of(self, job: str, index: int | None) -> int | None:
        """The slice of an array's element; None for anything else."""
        for array in self.arrays:
            if array.job == job:
                return self.slices[array.offset + (index or 0)]
        return None


def run_job_name(folder: RunFolder, manifest_digest: str) -> str:
    """Name of all jobs of a run: its own name, and a digest of where it lies and what it is."""
    digest = hashlib.sha256(f"{folder.path.absolute()}\0{manifest_digest}".encode()).hexdigest()
    return f"vmafarm-{folder.name}-{digest[:10]}"


def split(count: int, max_array_size: int) -> list[tuple[int, int]]:
    """Cut a list of elements into arrays that the cluster takes.

    Parameters
    ----------
    count
        Elements.
    max_array_size
        SLURM's MaxArraySize: indices end one below it.

    Returns
    -------
    list of (offset, count)
        Of nearly equal counts.
    """
    size = max(1, max_array_size - 1)
    chunks = -(-count // size)
    edges = [count * i // chunks for i in range(chunks + 1)] if chunks else []
    return [(a, b - a) for a, b in pairwise(edges)]


def container_python(
    section: SlurmSection, folder: RunFolder, clips: Path | None, scratch: str, python: str
) -> list[str]:
    """Command that starts Python for an element: in the image, or this one where there is none.

    Parameters
    ----------
    section
        ``[slurm]``.
    folder
        The run; its root is bound writable, at its own path.
    clips
        Folder of the clips; bound read-only, at its own path. None: there is none to bind.
    scratch
        Folder for temporary files on the node, or "".
    python
        This interpreter.

    Raises
    ------
    UsageError
        A path cannot be bound: Apptainer splits at colons and commas.
    """
    if not section.image:
        return [python]
    binds = [f"{_bindable(folder.root.absolute())}"]
    if clips is not None:
        binds.append(f"{_bindable(clips)}:{clips}:ro")
    if scratch:
        binds.append(str(_bindable(Path(scratch).absolute())))
    command = ["apptainer", "exec", "--no-home", "--pwd", "/"]
    if section.gpus or section.gres:
        command.append("--nv")
    for bind in (*binds, *section.binds):
        command += ["--bind", bind]
    # The image's own packages alone: what the user has in the home folder or PYTHONPATH is another's.
    command += ["--env", "PYTHONPATH=,PYTHONNOUSERSITE=1"]
    return [*command, str(Path(section.image).absolute()), "/opt/venv/bin/python"]


def _bindable(path: Path) -> Path:
    if any(character in str(path) for character in ":,\n"):
        raise UsageError(
            f"{show(str(path))}: Apptainer cannot bind a path with a colon, a comma or a line break",
            "rename the folder, or reach it through a link with another name",
        )
    return path


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
    found = re.fullmatch(r"([\d.]+)\s*([KMGT])i?B", text)
    assert found is not None  # the configuration has been checked
    number, unit = float(found[1]), found[2]
    if number.is_integer():
        return f"{number:.0f}{unit}B"
    return f"{math.ceil(number * 1024.0 ** ('KMGT'.index(unit) - 1))}MB"


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
        No such partition, a time limit above the partition's, or GPUs where there are none.
    """
    defaults = [partition.name for partition in partitions.values() if partition.is_default]
    for key, name, minutes in (
        ("slurm.partition", section.partition, section.time),
        ("slurm.merge.partition", section.merge.partition or section.partition, section.merge.time),
    ):
        name = name or (defaults[0] if defaults else "")
        if name and name not in partitions:
            raise UsageError(
                f"{key} = {name!r}: the cluster has no such partition", "it has: " + ", ".join(partitions)
            )
        limit = partitions[name].minutes if name else None
        if limit is not None and minutes > limit:
            raise UsageError(
                f"{key.replace('partition', 'time')} = {minutes} minutes: partition {name} allows {limit}",
                "a lower time (elements that it ends are continued by the next round), or another partition",
            )
    name = section.partition or (defaults[0] if defaults else "")
    if (section.gpus or section.gres) and name and "gpu" not in partitions[name].gres:
        raise UsageError(
            f"GPUs are asked for (slurm.gpus, slurm.gres), but partition {name} has none",
            "with GPUs: "
            + (", ".join(p.name for p in partitions.values() if "gpu" in p.gres) or "no partition"),
        )


def new_submission(folder: RunFolder, submission: Submission) -> None:
    """Write its immutable part down, before any job is queued."""
    durable.make_folder(folder.submissions)
    document = asdict(submission)
    document.pop("arrays")
    document.pop("merge_job")
    durable.replace_text(_path(folder, submission.number, "json"), json.dumps(document, indent=1) + "\n")


def note_job(folder: RunFolder, number: int, record: Mapping[str, Any]) -> None:
    """Write down a job as soon as it is queued."""
    appender = durable.Appender(_path(folder, number, "jobs"))
    try:
        appender.append(durable.json_line(record))
    finally:
        appender.close()


def read_submissions(folder: RunFolder) -> list[Submission]:
    """All submissions of a run, the oldest first."""
    found = []
    for path in sorted(folder.submissions.glob("*.json")):
        document = json.loads(path.read_text())
        jobs = path.with_suffix(".jobs")
        records = list(read_json_lines(jobs)) if jobs.exists() else []
        arrays = tuple(Array(**r) for r in records if "count" in r)
        merges = [r["merge_job"] for r in records if "merge_job" in r]
        document["slices"] = tuple(document["slices"])
        found.append(Submission(**document, arrays=arrays, merge_job=merges[-1] if merges else ""))
    return found


def _path(folder: RunFolder, number: int, suffix: str) -> Path:
    return folder.submissions / f"{number:05d}.{suffix}"
