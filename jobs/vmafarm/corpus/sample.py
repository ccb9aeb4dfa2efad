"""A sample of clips that is stratified by size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from vmafarm.corpus.slices import name_digest


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
