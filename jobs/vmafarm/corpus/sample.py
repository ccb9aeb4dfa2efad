"""A sample of clips that is stratified by size, and what it says of all the others."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vmafarm.corpus.slices import name_digest

AT_LEAST = 4
"""Measured clips that make a group, and so the fewest from which there is an interval. With groups of
two the intervals of the corpora in tests/corpus/test_sample.py are as wide, and hold the truth less often."""
_NORMAL = 1.959964
# fmt: off
_STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)
# fmt: on
"""97.5% point of Student's t for 1 to 30 degrees of freedom (any table of it)."""


@dataclass(frozen=True)
class Total:
    """A sum over clips of which some were measured.

    Attributes
    ----------
    value
        Its estimate.
    error
        Half the width of its 95% interval; None: too few clips were measured to tell.
    """

    value: float
    error: float | None = None

    @property
    def low(self) -> float | None:
        """Lower end of the interval; what is summed is never negative."""
        return None if self.error is None else max(0.0, self.value - self.error)

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.error is None else self.value + self.error

    def times(self, factor: float) -> Total:
        """The same in another unit."""
        return Total(self.value * factor, None if self.error is None else self.error * factor)

    def plus(self, known: float) -> Total:
        """With something that is known exactly."""
        return Total(self.value + known, self.error)


def stratified(names: Sequence[str], sizes: Sequence[int], limit: int) -> list[int]:
    """Choose clips of all sizes, the same ones on every machine.

    Parameters
    ----------
    names
        Names, each once, in any order.
    sizes
        Bytes of each.
    limit
        How many are wanted, at least 0.

    Returns
    -------
    list of int
        Ascending positions of min(limit, names) clips. All are ordered by size and cut into `limit`
        strata of nearly equal counts; of each it is the clip whose name has the smallest BLAKE2b
        digest. A sample of twice as many contains the smaller one.
    """
    count = min(limit, len(names))
    order = sorted(range(len(names)), key=lambda at: (sizes[at], names[at].encode()))
    edges = [len(order) * i // count for i in range(count + 1)] if count else []
    strata = [order[first:last] for first, last in pairwise(edges)]
    return sorted(min(stratum, key=lambda at: name_digest(names[at])) for stratum in strata)


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

    Notes
    -----
    With one clip measured a stratum, such groups are collapsed strata (W. G. Cochran, Sampling
    Techniques, 3rd ed., 1977, 5A.12): the variance within a group stands for that within its strata.
    What the means of neighbouring strata differ by counts as variance too, so that the interval
    is rather too wide. A group with n measured and m missing clips has a variance of
    m^2 s^2 (1/n + 1/m): that of a total from a simple random sample with its finite population
    correction, without the part that is known.

    The interval is Student's t, its degrees of freedom by F. E. Satterthwaite (Biometrics Bulletin 2,
    1946, 110-114), with the unbiased v^2 / (1 + 2/f) in place of the square of each variance v, since
    a group has few, f. The smallest f bounds them.
    """
    known = sorted(measured, key=lambda name: (sizes[name], name.encode()))
    values = np.array([measured[name] for name in known])
    firsts = np.arange(0, max(len(known) - AT_LEAST + 1, 1), AT_LEAST)
    counts = np.diff(np.append(firsts, len(known)))
    means = np.add.reduceat(values, firsts) / counts
    weights = _weights([(sizes[name], name.encode()) for name in known], missing, sizes, firsts)
    value = float(weights @ means)
    if len(known) < AT_LEAST:
        return Total(value, None if weights.any() else 0.0)
    squares = np.add.reduceat((values - np.repeat(means, counts)) ** 2, firsts) / (counts - 1)
    variances = weights * squares * (weights / counts + 1)
    total = float(variances.sum())
    if not total:
        return Total(value, 0.0)
    freedom = total**2 / float((variances**2 / (counts + 1)).sum()) - 2
    return Total(value, _student(max(freedom, counts.min() - 1)) * math.sqrt(total))


def _weights(
    known: Sequence[tuple[int, bytes]],
    missing: Collection[str],
    sizes: Mapping[str, int],
    firsts: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Missing clips of each group; of those between two groups each has half."""
    others = sorted((sizes[name], name.encode()) for name in missing)
    below = []
    at = 0
    for key in known:
        while at < len(others) and others[at] < key:
            at += 1
        below.append(at)
    edges = [(below[first - 1] + below[first]) / 2 for first in firsts[1:]]
    return np.diff(np.array([0, *edges, len(others)], dtype=np.float64))


def _student(freedom: float) -> float:
    """97.5% point of Student's t: between those of the table, beyond it to 0.2%.

    Parameters
    ----------
    freedom
        Degrees of freedom, at least 1. See M. Abramowitz and I. A. Stegun, Handbook of Mathematical
        Functions, 26.7.5, for many.
    """
    if freedom <= len(_STUDENT):
        return float(np.interp(freedom, np.arange(1, len(_STUDENT) + 1), _STUDENT))
    return _NORMAL + (_NORMAL**3 + _NORMAL) / (4 * freedom)
