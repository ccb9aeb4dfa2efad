"""What an element is to do, and how it ended."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.clip import Clip
from jobs.config import Config
from jobs.failures import read_failures, set_aside
from jobs.manifest import Manifest
from jobs.run_folder import RunFolder
from jobs.shard import read_done


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
    """

    config: dict[str, Any]
    slices: tuple[int, ...]
    job: str = "local"
    launcher: int = 0
    environment: Mapping[str, str | None] = field(default_factory=dict)
    minutes: float = 0.0


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
        the others are done.
    """
    done = read_done(folder, slices)
    records = read_failures(folder.failures)
    aside = set_aside(records, config.extract.retries + 1, {r.host for r in records})
    failed_before = {record.clip_name for record in records}
    clips = Path(config.corpus.clips)
    todo = []
    for slice_id in slices:
        for i in manifest.positions(slice_id):
            name = manifest.names[i]
            if name not in done and name not in aside:
                todo.append(Clip(name, clips / name, float(manifest.mos[i]), slice_id))
    return sorted(todo, key=lambda clip: clip.name in failed_before)


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
