"""Names of this process, its job, its node and its GPUs, from the environment."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

from vmafarm.process.job_ids import on_cluster


def task_of(
    environment: Mapping[str, str], otherwise: str, tasks: int = 1, cluster: str = ""
) -> tuple[str, int | None]:
    """Return the SLURM job ID (of an array, that of the array) and index; else `otherwise` and None.

    With several elements in each job, the index is the element's, see `element_index`. The ID has the name of
    the cluster as configured, see `vmafarm.process.job_ids`.
    """
    job = environment.get("SLURM_ARRAY_JOB_ID") or environment.get("SLURM_JOB_ID")
    if not job:
        return otherwise, None
    in_array = bool(environment.get("SLURM_ARRAY_TASK_ID")) or tasks > 1
    return on_cluster(job, cluster), element_index(environment, tasks) if in_array else None


def element_index(environment: Mapping[str, str], tasks: int) -> int:
    """Return the number of this process's element: job i of an array has those from i * `tasks` on."""
    index = int(environment.get("SLURM_ARRAY_TASK_ID") or 0)
    return index * tasks + (int(environment.get("SLURM_PROCID") or 0) if tasks > 1 else 0)


def node_name(environment: Mapping[str, str]) -> str:
    """Return the name of this node in SLURM, else the host name."""
    # The nodes of a test cluster share a host name.
    return environment.get("SLURMD_NODENAME") or socket.gethostname()


def visible_gpus(environment: Mapping[str, str], devices: Path = Path("/dev")) -> list[str]:
    """List the GPUs that this process may use: those in CUDA_VISIBLE_DEVICES, else all NVIDIA devices.

    Parameters
    ----------
    environment
        Environment of the process.
    devices
        Folder of the device files ``nvidia0``, ``nvidia1``, ...

    Returns
    -------
    list of str
        Indices, or identifiers that begin with ``GPU-`` or ``MIG-``; each is a valid CUDA_VISIBLE_DEVICES.
        CUDA stops at the first name that is not valid (NVIDIA, "CUDA C++ Programming Guide", environment
        variables; SLURM writes ``NoDevFiles`` where a job has no GPU), and sees none where one is listed
        twice (measured with driver 580 on an H100).
    """
    # CUDA counts from 0 whatever the names of the device files: a container may have only nvidia3.
    present = sum(path.name.removeprefix("nvidia").isdigit() for path in devices.glob("nvidia[0-9]*"))
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return [str(index) for index in range(present)]
    visible = []
    for name in map(str.strip, listed.split(",")):
        is_index = name.isascii() and name.isdigit() and (not present or int(name) < present)
        if not is_index and not name.startswith(("GPU-", "MIG-")):
            break
        visible.append(name)
    return visible if len(set(visible)) == len(visible) else []


def writer_name(job: str, host: str) -> str:
    """Make a unique name for a writer, of characters that are safe in any file name."""
    name = f"{job}-{host[:40]}-{os.getpid()}-{secrets.token_hex(4)}"
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def image_digest(environment: Mapping[str, str]) -> str:
    """Return the digest of the image around this process, by containers/element.sh; empty without one."""
    found = environment.get("VMAFARM_IMAGE", "")
    return found if re.fullmatch("sha256:[0-9a-f]{64}", found) else ""


def job_label(environment: Mapping[str, str], otherwise: str) -> str:
    """Return job, task and restart of a SLURM job from its environment; else `otherwise`."""
    job = environment.get("SLURM_ARRAY_JOB_ID") or environment.get("SLURM_JOB_ID")
    if not job:
        return otherwise
    task = environment.get("SLURM_ARRAY_TASK_ID", "0")
    return f"{job}-{task}-{environment.get('SLURM_RESTART_COUNT', '0')}"
