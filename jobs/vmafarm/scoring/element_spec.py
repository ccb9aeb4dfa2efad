"""What an element is to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vmafarm.run_folder.submissions import EVERYTHING


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
