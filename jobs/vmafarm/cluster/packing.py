"""Packs slices into array elements: pure decisions."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vmafarm.common.errors import UsageError
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.corpus.slices import balance
from vmafarm.run_folder.submissions import ELSEWHERE, LAST_LOOK

_SHORTEST = 1 / 4
"""Share of `slurm.minutes`: shorter elements would spend much of their time starting."""


def group(weights: Mapping[int, float], count: int) -> tuple[tuple[int, ...], ...]:
    """Group slices into at most `count` elements of nearly equal weight.

    Parameters
    ----------
    weights
        Work per slice, in any unit.
    count
        Elements, at least 1.

    Returns
    -------
    tuple
        Slices of each element, ordered by their first slice.
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
    """Group slices into elements of different sizes.

    Parameters
    ----------
    weights
        Work per slice, in any unit.
    sizes
        Relative sizes of the elements.

    Returns
    -------
    tuple
        Slices of each element, heaviest first; empty elements are dropped.
    """
    typical = sum(weights.values()) / len(weights)
    groups: list[list[int]] = [[] for _ in sizes]
    # Each slice goes to the element that is least loaded with it, relative to its size.
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
    """Sizes of elements: the first row takes half of the work, the next half of the rest, and so on.

    SLURM starts them in this order, each when another one ends. The small ones at the end even out slow
    nodes and interruptions, so that all places stay busy until the end.

    Parameters
    ----------
    slices
        Total work.
    at_once
        Elements that run at the same time, the length of a row.
    longest, shortest
        Largest element, if it has more than one slice, and smallest before the last row; in slices.

    Returns
    -------
    tuple of float
        Slices per element, in descending order; their number is a multiple of `at_once`. Only the last
        row may have fractions.
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
    """Decide how many elements each round has.

    Parameters
    ----------
    slices
        Number of slices with work left.
    minutes
        Their total work, in minutes of one element; None: not measured, so each slice is an element of its
        own as far as the array has room.
    section
        ``[slurm]``: elements of at most `minutes`, in whole rows of `parallelism`; with several rows, later
        ones are smaller, see `taper`. If the array has no room for so many, all are larger.
    max_array_size
        SLURM's MaxArraySize: array indices end one below it.
    jobs_left
        Jobs that may still be submitted; None: no limit.

    Raises
    ------
    UsageError
        The limit does not even allow one element per round, and the merge.
    """
    nodes = section.nodes  # elements of each job; what is limited are jobs
    most = max(1, max_array_size - 1) * nodes
    # Later rounds need no more elements than run at once: each takes its share of what is missing.
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
        later = min(later, max(1, (jobs_left - 1) // (rounds + 1)) * nodes)
        most = min(most, (jobs_left - 1 - rounds * -(-later // nodes)) * nodes)
    at_once = min(section.parallelism, most)
    if minutes is None or slices <= at_once:
        return Layout(_full(min(slices, most), nodes), _full(later, nodes))
    longest = section.minutes * slices / minutes
    while len(sizes := taper(slices, at_once, longest, max(1, longest * _SHORTEST))) > most:
        longest = 1.1 * max(1, longest)
    return Layout(len(sizes), _full(later, nodes), sizes if len(set(sizes)) > 1 else ())


def _full(elements: int, nodes: int) -> int:
    """As many elements, or a few less, so that each job has one for each of its nodes."""
    return elements - elements % nodes if elements > nodes else elements


def pack(weights: Mapping[int, float], layout: Layout) -> tuple[tuple[int, ...], ...]:
    """Slices of each element of the first round, by what is left of each slice."""
    return group_by_size(weights, layout.sizes) if layout.sizes else group(weights, layout.first)


def plan_looks(rounds: int, jobs_left: int | None, nodes: int) -> tuple[str, ...]:
    """What the jobs behind all rounds take, which decide whether a clip has failed for good.

    The first job retries the clips that failed on a node other than its own. The second one is kept off the
    first one's node and retries the rest. So two jobs bring every such clip to a second node.

    Parameters
    ----------
    rounds
        ``slurm.rounds``.
    jobs_left
        Jobs that may still be submitted; None: no limit.
    nodes
        Nodes in the partitions.

    Returns
    -------
    tuple of str
        Shares of clips; see `vmafarm.scoring.todo.find_todo`. Empty if the limit has no room for these jobs:
        the later rounds then retry all clips on any node.
    """
    looks = (ELSEWHERE, LAST_LOOK) if nodes > 1 else (LAST_LOOK,)
    return looks if jobs_left is None or jobs_left >= rounds + 1 + len(looks) else ()
