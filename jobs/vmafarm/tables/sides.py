"""Which side of a split each group goes to."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from vmafarm.common.errors import UsageError, show
from vmafarm.common.text import counted

SIDES = ("train", "val", "test")
MOST_OFF = 0.05
"""How far the share of a side may be from what was asked, of all clips; one clip is always allowed."""


def require_shares(shares: Sequence[float]) -> None:
    """Raise UsageError unless the shares of the sides are from 0 to 1, and 1 together."""
    asked = ", ".join(f"--{side} {share:g}" for side, share in zip(SIDES, shares, strict=True))
    hint = "for example --train 0.8 --val 0.1 --test 0.1"
    if not all(0 <= share <= 1 for share in shares):
        raise UsageError(f"{asked}: expected shares from 0 to 1", hint)
    if not math.isclose(math.fsum(shares), 1, abs_tol=1e-9):
        raise UsageError(f"{asked}: together {math.fsum(shares):g}, expected 1", hint)


def choose_sides(sizes: Mapping[str, int], shares: Sequence[float], seed: int) -> dict[str, int]:
    """Choose the side of each group.

    Groups are taken in classes of size, the largest first: a class holds sizes from one power of two to the
    next. Within a class they are in the order of the SHA-256 of seed and key. Each goes to the side that then
    lacks most clips of its share of those taken so far.

    Parameters
    ----------
    sizes
        Key of each group to its number of clips; the order of the keys does not matter.
    shares
        Of each side.
    seed
        Another one gives another split.

    Returns
    -------
    dict
        Key of each group to its side, a position in `SIDES`.

    Raises
    ------
    UsageError
        A side gets none of the clips that it should, or a share that is more off than `MOST_OFF` allows.
    """

    def order(key: str) -> tuple[int, bytes]:
        return -sizes[key].bit_length(), hashlib.sha256(f"{seed}:{key}".encode()).digest()

    filled = [0] * len(shares)
    taken = 0
    side_of: dict[str, int] = {}
    for key in sorted(sizes, key=order):
        taken += sizes[key]
        lacking = [share * taken - has for share, has in zip(shares, filled, strict=True)]
        side_of[key] = side = lacking.index(max(lacking))
        filled[side] += sizes[key]
    _require_close(sizes, shares, filled)
    return side_of


def _require_close(sizes: Mapping[str, int], shares: Sequence[float], filled: Sequence[int]) -> None:
    clips = sum(filled)
    found = [(has / clips, share) for has, share in zip(filled, shares, strict=True)]
    allowed = max(MOST_OFF, 1 / clips) + 1e-9
    if all(abs(got - share) <= allowed and (got or not share) for got, share in found):
        return
    largest = min(sizes, key=lambda key: (-sizes[key], key))
    told = ", ".join(
        f"{side} {got:.1%} (asked {share:.1%})" for side, (got, share) in zip(SIDES, found, strict=True)
    )
    raise UsageError(
        f"{counted(len(sizes), 'group')} of {counted(clips, 'clip')} cannot be split like this: the largest, "
        f'"{show(largest)}", has {counted(sizes[largest], "clip")} ({sizes[largest] / clips:.1%}); '
        f"the nearest split is {told}",
        f"choose shares that groups of that size can fill (each within {MOST_OFF:.0%}), or smaller groups",
    )
