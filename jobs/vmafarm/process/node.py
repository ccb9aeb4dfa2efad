"""Names of this process, its job and its node, by the environment."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path


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
