"""How the work of a submission becomes array elements: pure decisions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from jobs.errors import UsageError
from jobs.settings import SlurmSection
from jobs.slices import balance


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


def group(weights: Mapping[int, float], count: int) -> tuple[tuple[int, ...], ...]:
    """Put slices together to at most so many elements of nearly equal weight.

    Parameters
    ----------
    weights
        Work of each slice, in any unit.
    count
        Elements, at least 1.

    Returns
    -------
    tuple
        Slices of each element, in ascending order of their first ones.
    """
    numbers = sorted(weights)
    if count >= len(numbers):
        return tuple((number,) for number in numbers)
    whole = np.array([round(1000 * weights[number]) for number in numbers], dtype=np.int64)
    groups: list[list[int]] = [[] for _ in range(count)]
    for number, element in zip(numbers, balance(whole, count).tolist(), strict=True):
        groups[element].append(number)
    return tuple(sorted(tuple(group) for group in groups if group))


@dataclass(frozen=True)
class Layout:
    """How many elements a submission has.

    Attributes
    ----------
    first
        Of the first round, in arrays that the cluster takes.
    later
        Of each later round.
    """

    first: int
    later: int


def lay_out(
    slices: int, minutes: float | None, section: SlurmSection, max_array_size: int, jobs_left: int | None
) -> Layout:
    """Number of elements of each round.

    Parameters
    ----------
    slices
        How many have work left.
    minutes
        Work of all of them together, as minutes of one element; None: not measured, then each slice
        is an element of its own.
    section
        ``[slurm]``: elements of so many minutes, but as many as may run at the same time.
    max_array_size
        SLURM's MaxArraySize.
    jobs_left
        Jobs that may be submitted still; None: no limit.

    Raises
    ------
    UsageError
        The limit does not even allow an element in each round, and the merge.
    """
    wanted = slices
    if minutes is not None:
        wanted = min(slices, max(math.ceil(minutes / section.minutes), section.parallelism))
    # A later round needs no more elements than run at the same time: each has its share of what is missing.
    later = min(wanted, section.parallelism, max(1, max_array_size - 1))
    rounds = section.rounds - 1
    if jobs_left is None:
        return Layout(wanted, later)
    if jobs_left < rounds + 2:
        raise UsageError(
            f"{jobs_left} more jobs may be in the queue, but {rounds + 2} are needed: an element in each of "
            f"{section.rounds} rounds, and the merge",
            "wait for other jobs to end, ask for another account or QOS (slurm.account, slurm.qos), or set "
            "slurm.rounds = 1",
        )
    later = min(later, max(1, (jobs_left - 1) // (rounds + 1)))
    return Layout(min(wanted, jobs_left - 1 - rounds * later), later)
