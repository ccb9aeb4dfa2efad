"""Divides the clips into slices of equal weight."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from vmafarm.run_folder.planned_clips import name_digest


def slice_count(clips: int, count: int, clips_per_slice: int, parallelism: int = 1) -> int:
    """Return the number of slices that the configuration asks for.

    Parameters
    ----------
    clips
        Number of clips, at least 1.
    count
        Number asked for; 0: from `clips_per_slice`.
    clips_per_slice
        Clips in a slice, at most on average.
    parallelism
        Elements that are to run at the same time: where there are more slices than that, each can
        have as many as the others.

    Returns
    -------
    int
        At least 1 and at most `clips`, so that no slice need be empty.
    """
    wanted = count or -(-clips // clips_per_slice)
    if not count and wanted > parallelism:
        wanted += -wanted % parallelism
    return max(1, min(wanted, clips))


def balance(sizes: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    """Distribute clips over slices: the largest first, each onto the lightest slice so far.

    Parameters
    ----------
    sizes
        Size of each clip in bytes, shape (clips,), in the order of the names.
    count
        Number of slices, at least 1.

    Returns
    -------
    ndarray
        int32, shape (clips,): the slice of each clip, from 0. Among clips of the same size the
        earlier goes first; among slices of the same weight the one with the fewest clips gets it,
        then the one with the lowest number.

    Notes
    -----
    No slice weighs more than 4/3 - 1/(3 * count) of the best possible heaviest slice
    (R. L. Graham, Bounds on multiprocessing timing anomalies, 1969); where no clip is large
    against a slice it is a fraction of a percent.
    """
    order = np.argsort(-sizes, kind="stable")
    # Weight, clips and number of a slice in one integer, which compares faster than a tuple.
    digits = count.bit_length()
    shift = digits + len(sizes).bit_length()
    number = (1 << digits) - 1
    heap = list(range(count))  # already a heap
    chosen = []
    for size in sizes[order].tolist():
        lightest = heap[0]
        chosen.append(lightest & number)
        heapq.heapreplace(heap, lightest + (size << shift) + number + 1)
    slices = np.empty(len(sizes), dtype=np.int32)
    slices[order] = chosen
    return slices


def format_indices(indices: Iterable[int]) -> str:
    """Write numbers as SLURM does: ``[3, 7, 8, 9]`` is ``3,7-9``; sorted, each once."""
    runs: list[list[int]] = []
    for index in sorted(set(indices)):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs)


def sample(names: Sequence[str], limit: int) -> NDArray[np.int64]:
    """Choose clips for a smoke test, the same ones on every machine.

    Parameters
    ----------
    names
        Names, each once, in any order.
    limit
        How many are wanted, at least 0.

    Returns
    -------
    ndarray
        int64, shape (min(limit, names),): ascending positions of those names whose BLAKE2b
        digest is smallest. The choice depends on the names alone, not on their order, and a
        larger sample contains the smaller ones.
    """
    digests = [name_digest(name) for name in names]
    chosen = heapq.nsmallest(limit, range(len(digests)), key=digests.__getitem__)
    return np.array(sorted(chosen), dtype=np.int64)
