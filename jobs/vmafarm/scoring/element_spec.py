"""What an element is to do, and how it ended."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EVERYTHING, ORDINARY, ELSEWHERE, LAST_LOOK = ("everything", "ordinary", "elsewhere", "last look")
"""What an element takes of its slices' clips; see `vmafarm.scoring.todo.find_todo`."""


@dataclass(frozen=True)
class ElementSpec:
    """What an element is to do; crosses to its process as JSON.

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
    share
        Which clips of its slices; see `vmafarm.scoring.todo.find_todo`.
    canary
        The first small job of a submission: everything is tried before the first clip.
    manifest
        Digest of the manifest that the work was cut from; "": whichever there is.
    """

    config: dict[str, Any]
    slices: tuple[int, ...]
    job: str = "local"
    launcher: int = 0
    environment: Mapping[str, str | None] = field(default_factory=dict)
    minutes: float = 0.0
    limit: int = 0
    share: str = EVERYTHING
    canary: bool = False
    manifest: str = ""


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


def worker_count(workers: str | int, threads: int) -> int:
    """Clips at once: as configured, or as many as this process has processors for."""
    if isinstance(workers, int):
        return workers
    return max(1, len(os.sched_getaffinity(0)) // threads)
