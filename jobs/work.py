"""What an element is to do, and how it ended."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.audit import audited_clips
from jobs.clip import Clip
from jobs.config import Config
from jobs.errors import show
from jobs.failures import read_failures, set_aside
from jobs.limits import Limits
from jobs.manifest import Manifest
from jobs.nodes import NodeBrokenError
from jobs.run_folder import RunFolder
from jobs.sampling import stratified
from jobs.shard import read_done

_LOOKED_AT = 20


@dataclass(frozen=True)
class ElementSpec:
    """What an element is to do; crosses to its process as a pickle.

    Attributes
    ----------
    config
        The configuration, as `Config.model_dump` gives it.
    slices
        Slices to work on, in this order.
    job
        Name of the job for the writer's name; within SLURM it is the job's own.
    launcher
        Process id to live no longer than, or 0.
    environment
        Variables to set, or to remove where None: submitit's local executor hides the GPUs.
    minutes
        Time limit that was asked for, or 0: none.
    limit
        At most so many clips, a reproducible sample of all sizes of what is missing; 0: all.
    canary
        The first small job of a submission: everything is tried before the first clip.
    """

    config: dict[str, Any]
    slices: tuple[int, ...]
    job: str = "local"
    launcher: int = 0
    environment: Mapping[str, str | None] = field(default_factory=dict)
    minutes: float = 0.0
    limit: int = 0
    canary: bool = False


@dataclass(frozen=True)
class ElementResult:
    """How an element ended.

    Attributes
    ----------
    done
        Rows written by this element.
    failed
        Clips that failed, by class.
    stopped
        It was asked to stop before its work was done.
    exit_code, message, hint
        Of the error that ended it, or 0 and "".
    """

    done: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    stopped: bool = False
    exit_code: int = 0
    message: str = ""
    hint: str = ""


def find_todo(folder: RunFolder, config: Config, manifest: Manifest, slices: tuple[int, ...]) -> list[Clip]:
    """Clips of these slices that have no row and are not set aside.

    Parameters
    ----------
    folder, config, manifest
        The run.
    slices
        In the order in which they are to be done.

    Returns
    -------
    list of Clip
        Clips that failed before come last: should the engine fail on them again and end the element,
        the others are done. Of each slice the audited ones come first: a wrong constant shows before
        many rows have it, and there is time for them.
    """
    done = read_done(folder, slices)
    records = read_failures(folder.failures)
    limits = Limits.of(config.extract).as_dict()
    aside = set_aside(records, config.extract.retries + 1, {r.host for r in records}, limits)
    failed_before = {record.clip_name for record in records}
    clips = Path(config.corpus.clips)
    audited = audited_clips(manifest.names, config.engine.audit_every)
    todo = []
    for slice_id in slices:
        for i in sorted(manifest.positions(slice_id), key=lambda i: manifest.names[i] not in audited):
            name = manifest.names[i]
            if name not in done and name not in aside:
                mos, size = float(manifest.mos[i]), int(manifest.bytes[i])
                todo.append(Clip(name, clips / name, mos, slice_id, size, name in audited))
    return sorted(todo, key=lambda clip: clip.name in failed_before)


def take_sample(todo: list[Clip], limit: int) -> list[Clip]:
    """At most `limit` of these clips, of all sizes, the same ones on every machine.

    Audited ones only where there are too few others: what all clips will take is estimated from these.
    """
    ordinary = [clip for clip in todo if not clip.audited]
    todo = ordinary if len(ordinary) >= limit else todo
    sizes = [clip.bytes or 0 for clip in todo]
    return [todo[at] for at in stratified([clip.name for clip in todo], sizes, limit)]


def check_visible(todo: Sequence[Clip], folder: Path) -> None:
    """Raise NodeBrokenError where none of the clips is to be seen: a folder that is not mounted here."""
    if todo and not any(clip.path.exists() for clip in todo[:_LOOKED_AT]):
        raise NodeBrokenError(
            f"the clips are not to be seen on this node: {show(str(folder))} "
            + ("holds none of them" if folder.is_dir() else "is not there"),
            "it must be there under the same path on every node: is it mounted? (slurm.exclude, slurm.binds)",
        )


def task_of(environment: Mapping[str, str], otherwise: str) -> tuple[str, int | None]:
    """SLURM's job (of an array the array's own) and index, or `otherwise` and None outside of SLURM."""
    job = environment.get("SLURM_ARRAY_JOB_ID") or environment.get("SLURM_JOB_ID")
    index = environment.get("SLURM_ARRAY_TASK_ID")
    return (job, int(index) if index else None) if job else (otherwise, None)


def node_name(environment: Mapping[str, str]) -> str:
    """Name of this node as SLURM knows it, else of this host."""
    # Nodes of a test cluster share a host name.
    return environment.get("SLURMD_NODENAME") or socket.gethostname()


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """GPUs that this process may use: by CUDA_VISIBLE_DEVICES, else all NVIDIA devices."""
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [gpu for gpu in listed.split(",") if gpu.strip()]
    devices = (path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    return sorted((name for name in devices if name.isdigit()), key=int)


def writer_name(job: str, host: str) -> str:
    """A name that no other writer has, of characters that are safe in any file name."""
    name = f"{job}-{host[:40]}-{os.getpid()}-{secrets.token_hex(4)}"
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def job_label(environment: Mapping[str, str], otherwise: str) -> str:
    """Job, task and restart of a SLURM job, by its environment; `otherwise` outside of SLURM."""
    job = environment.get("SLURM_ARRAY_JOB_ID") or environment.get("SLURM_JOB_ID")
    if not job:
        return otherwise
    task = environment.get("SLURM_ARRAY_TASK_ID", "0")
    return f"{job}-{task}-{environment.get('SLURM_RESTART_COUNT', '0')}"
