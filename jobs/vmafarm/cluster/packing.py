"""How the work of a submission becomes array elements: pure decisions."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vmafarm.common.errors import UsageError
from vmafarm.config.sections import SlurmSection
from vmafarm.corpus.slices import balance
from vmafarm.run_folder.submissions import ELSEWHERE, LAST_LOOK

_SHORTEST = 1 / 4
"""Of `slurm.minutes`: shorter elements would take much of their time to start."""


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


def group_by_size(weights: Mapping[int, float], sizes: Sequence[float]) -> tuple[tuple[int, ...], ...]:
    """Put slices together to elements of different sizes.

    Parameters
    ----------
    weights
        Work of each slice, in any unit.
    sizes
        Of the elements, in proportion to each other.

    Returns
    -------
    tuple
        Slices of each element, the heaviest first; elements that get none are left out.
    """
    typical = sum(weights.values()) / len(weights)
    groups: list[list[int]] = [[] for _ in sizes]
    # Each slice goes to the element that will have least with it, for its size.
    heap = [(typical / size, element, 0.0) for element, size in enumerate(sizes)]
    heapq.heapify(heap)
    for number in sorted(weights, key=lambda number: (-weights[number], number)):
        _, element, weight = heap[0]
        groups[element].append(number)
        weight += weights[number]
        heapq.heapreplace(heap, ((weight + typical) / sizes[element], element, weight))
    in_order = sorted((-weight, element) for _, element, weight in heap)
    return tuple(tuple(sorted(groups[element])) for _, element in in_order if groups[element])


def taper(slices: int, at_once: int, longest: float, shortest: float) -> tuple[float, ...]:
    """Sizes of elements: the first take half of the work, the next half of the rest, and so on.

    They are started in this order, each as another one ends. So the small ones at the end make up for
    what nodes are slower and what was interrupted; and as many as may run at once always do.

    Parameters
    ----------
    slices
        Work of all together.
    at_once
        Elements that run at the same time.
    longest, shortest
        Slices of an element; of one that is longer than a single slice, and of one ahead of the last.

    Returns
    -------
    tuple of float
        Slices of each, in descending order, a multiple of `at_once` of them. Only those of the last
        may be no whole number.
    """
    left = slices / at_once
    sizes: list[float] = []
    while left > 2 * shortest:
        size = max(1, min(int(longest), math.ceil(left / 2)))
        sizes += [size] * at_once
        left -= size
    return (*sizes, *[left] * at_once)


@dataclass(frozen=True)
class Layout:
    """How many elements a submission has; each round is one array.

    Attributes
    ----------
    first
        Elements of the first round, at most.
    later
        Elements of each later round.
    sizes
        Slices of each element of the first round, in descending order; empty: all alike.
    """

    first: int
    later: int
    sizes: tuple[float, ...] = ()


def lay_out(
    slices: int, minutes: float | None, section: SlurmSection, max_array_size: int, jobs_left: int | None
) -> Layout:
    """Number of elements of each round.

    Parameters
    ----------
    slices
        How many have work left.
    minutes
        Work of all of them together, in minutes of one element; None: not measured, then each slice
        is an element of its own, as far as the array has room.
    section
        ``[slurm]``: elements of at most `minutes`, in whole rows of `parallelism`. With several rows, the
        later ones have less work, see `taper`. Where the array has no room for so many, all have more.
    max_array_size
        SLURM's MaxArraySize: array indices end one below it.
    jobs_left
        Jobs that may still be submitted; None: no limit.

    Raises
    ------
    UsageError
        The limit does not even allow one element per round, and the merge.
    """
    most = max(1, max_array_size - 1)
    # A later round needs no more elements than run at the same time: each has its share of what is missing.
    later = min(slices, section.parallelism, most)
    rounds = section.rounds - 1
    if jobs_left is not None:
        if jobs_left < rounds + 2:
            raise UsageError(
                f"{jobs_left} more jobs may be in the queue, but {rounds + 2} are needed: an element in each "
                f"of {section.rounds} rounds, and the merge",
                "wait for other jobs to end, ask for another account or QOS (slurm.account, slurm.qos), or "
                "set slurm.rounds = 1",
            )
        later = min(later, max(1, (jobs_left - 1) // (rounds + 1)))
        most = min(most, jobs_left - 1 - rounds * later)
    at_once = min(section.parallelism, most)
    if minutes is None or slices <= at_once:
        return Layout(min(slices, most), later)
    longest = section.minutes * slices / minutes
    while len(sizes := taper(slices, at_once, longest, max(1, longest * _SHORTEST))) > most:
        longest = 1.1 * max(1, longest)
    return Layout(len(sizes), later, sizes if len(set(sizes)) > 1 else ())


def pack(weights: Mapping[int, float], layout: Layout) -> tuple[tuple[int, ...], ...]:
    """Slices of each element of the first round, by what is left of each slice."""
    return group_by_size(weights, layout.sizes) if layout.sizes else group(weights, layout.first)


def plan_looks(rounds: int, jobs_left: int | None, nodes: int) -> tuple[str, ...]:
    """What the jobs behind all rounds take, in whose hands a fault of a clip is decided.

    The first one tries what failed on other nodes than its own. The second one keeps away from the node of
    the first, and tries the rest. So two jobs bring every such clip to a second node, whichever it failed on.

    Parameters
    ----------
    rounds
        ``slurm.rounds``.
    jobs_left
        Jobs that may still be submitted; None: no limit.
    nodes
        Nodes that there are.

    Returns
    -------
    tuple of str
        Shares of clips; see `vmafarm.scoring.todo.find_todo`. Empty where these jobs have no room: the later
        rounds then try all clips wherever they run.
    """
    looks = (ELSEWHERE, LAST_LOOK) if nodes > 1 else (LAST_LOOK,)
    return looks if jobs_left is None or jobs_left >= rounds + 1 + len(looks) else ()
