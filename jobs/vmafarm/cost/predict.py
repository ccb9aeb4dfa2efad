"""What clips will take, from a sample of them that was measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AT_LEAST = 4
"""Measured clips that form a group, and so the fewest that give an interval. With groups of two the
intervals of the corpora in tests/cost/test_predict.py are as wide, and hold the truth less often."""
_DRAWS = 1000


@dataclass(frozen=True)
class Total:
    """A sum over clips of which some were measured.

    Attributes
    ----------
    value
        Its estimate.
    low, high
        Ends of its 95% interval; None: too few clips were measured.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def times(self, factor: float, plus: float = 0.0) -> Total:
        """The same in another unit, and with something that is known exactly."""
        ends = (None if end is None else end * factor + plus for end in (self.low, self.high))
        return Total(self.value * factor + plus, *ends)


def predict(measured: Mapping[str, float], missing: Collection[str], sizes: Mapping[str, int]) -> Total:
    """What clips will take together that were not measured, from those that were.

    All are ordered by size, and the measured ones are put into groups of four neighbours (the last of
    up to seven). Missing clips belong to the group that is nearest in that order, and count with its
    mean.

    Parameters
    ----------
    measured
        What each measured clip took, at least one.
    missing
        Names of the others.
    sizes
        Bytes of each clip of both.

    Returns
    -------
    Total
        The same for the same arguments.

    Notes
    -----
    With one clip measured per stratum, such groups are collapsed strata (W. G. Cochran, Sampling
    Techniques, 3rd ed., 1977, 5A.12): the variance within a group stands for that within its strata. The
    interval is a percentile bootstrap of the stratified mean. Each draw takes n - 2 = 2 of a group of n
    = 4; n - 1 of them would have the variance of the mean (J. N. K. Rao and C. F. J. Wu, JASA 83, 1988,
    231-241), but groups are few and small, for which Student's t would be wider than the normal
    distribution, too. To the means it adds what the missing clips themselves vary by.
    """
    known = sorted(measured, key=lambda name: (sizes[name], name.encode()))
    values = np.array([measured[name] for name in known])
    firsts = np.arange(0, max(len(known) - AT_LEAST + 1, 1), AT_LEAST)
    counts = np.diff(np.append(firsts, len(known)))
    means = np.add.reduceat(values, firsts) / counts
    weights = _weights([(sizes[name], name.encode()) for name in known], missing, sizes, firsts)
    value = float(weights @ means)
    if not weights.any():
        return Total(value, value, value)
    if len(known) < AT_LEAST:
        return Total(value)
    variances = np.add.reduceat((values - np.repeat(means, counts)) ** 2, firsts) / (counts - 1)
    random = np.random.default_rng(0)
    totals = random.normal(0, np.sqrt(weights @ variances), _DRAWS)
    step = max(1, 1_000_000 // len(counts))
    for block in np.split(totals, range(step, _DRAWS, step)):  # all of a large run would not fit in memory
        picks = firsts + random.integers(counts, size=(2, len(block), len(counts)))
        block += values[picks].mean(axis=0) @ weights
    low, high = np.quantile(totals, [0.025, 0.975])
    return Total(value, max(0.0, float(low)), float(high))


def _weights(
    known: Sequence[tuple[int, bytes]],
    missing: Collection[str],
    sizes: Mapping[str, int],
    firsts: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Missing clips of each group; of those between two groups each has half."""
    order = sorted([*known, *((sizes[name], name.encode()) for name in missing)])
    rank = {key: at for at, key in enumerate(order)}
    below = [rank[key] - at for at, key in enumerate(known)]
    edges = [(below[first - 1] + below[first]) / 2 for first in firsts[1:]]
    return np.diff(np.array([0, *edges, len(missing)], dtype=np.float64))
