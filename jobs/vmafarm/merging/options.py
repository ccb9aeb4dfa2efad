"""What is allowed in a merge."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What is allowed in a merge; see `vmafarm.merging.merge.merge`."""

    allow_missing: bool
    max_failed_share: float
    on_conflict: str
