"""Ids of SLURM jobs: ``12``, and ``12@tesla`` where a login node serves several clusters.

Each cluster counts its jobs from 1: without its name, a job of one could be taken for a job of another.
"""

from __future__ import annotations

from collections.abc import Iterable

JOB_ID = r"^[0-9]{1,20}(@[A-Za-z0-9_.-]{1,64})?$"
"""What an id looks like. The cluster's name is part of it if ``slurm.cluster`` is set."""


def on_cluster(number: str, cluster: str) -> str:
    """Make an id of a job's number and ``slurm.cluster``, which may be empty."""
    return f"{number}@{cluster}" if cluster else number


def number_of(job: str) -> str:
    """Return the number in an id, which SLURM's programs expect."""
    return job.partition("@")[0]


def is_of(job: str, cluster: str) -> bool:
    """Return whether an id is one of this cluster's; the empty name is the login node's own."""
    return job.partition("@")[2] == cluster


def in_order(jobs: Iterable[str]) -> list[str]:
    """Sort ids by cluster and number; each occurs once."""
    return sorted(set(jobs), key=lambda job: (job.partition("@")[2], int(number_of(job))))


def of_element(job: str, index: int | None) -> str:
    """Name an element as SLURM does: ``12_3``, with its cluster ``12_3@tesla``."""
    number, at, cluster = job.partition("@")
    return job if index is None else f"{number}_{index}{at}{cluster}"
