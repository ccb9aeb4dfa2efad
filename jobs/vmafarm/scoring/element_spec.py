"""Work of an element."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vmafarm.run_folder.submissions import EVERYTHING


@dataclass(frozen=True)
class ElementSpec:
    """Work of an element; passed to its process as JSON.

    Attributes
    ----------
    config
        The configuration, as `Config.model_dump` gives it.
    slices
        Slices to work on, in this order.
    job
        Name of the job, for the writer's name; in a SLURM job its own name is used.
    launcher
        Process id; the element stops when that process ends. 0: none.
    environment
        Variables to set, or to remove if None: submitit's local executor hides the GPUs.
    minutes
        Requested time limit; 0: none.
    limit
        Maximum number of clips, a reproducible sample of all sizes of the missing ones; 0: all.
    share
        Which clips of its slices; see `vmafarm.scoring.todo.find_todo`.
    canary
        The small first job of a submission: everything is checked before the first clip.
    manifest
        Digest of the manifest that the work belongs to; "": any.
    tasks
        Elements of each job, one on each of its nodes.
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
    tasks: int = 1
