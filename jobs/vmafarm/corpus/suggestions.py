"""Finds the setting that would join clips and scores which no rule has joined."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence

from vmafarm.common.errors import show
from vmafarm.corpus.names import base, trimmed

_LOOKED_AT = 200
_LEAST = 2
"""Joined clips below which a suggestion would be a coincidence."""
_ID = "([0-9]{6,})"


def suggestions(clips: Sequence[str], scores: Sequence[str]) -> tuple[str, ...]:
    """Name the setting that joins most of these names, tried on all of them.

    Parameters
    ----------
    clips, scores
        What was not joined.

    Returns
    -------
    tuple of str
        One line, or none where no setting joins two of them.
    """
    if len(clips) < _LEAST or len(scores) < _LEAST:
        return ()
    names, known = [base(trimmed(clip)) for clip in clips], set(scores)
    around: Counter[tuple[str, str]] = Counter()
    for name in names[:_LOOKED_AT]:
        for start in range(len(name)):
            for end in range(start + 1, len(name) + 1):
                if name[start:end] in known:
                    around[name[:start], name[end:]] += 1
    tried: list[tuple[int, str, str]] = []
    for (before, after), _ in around.most_common(3):
        template = f"{_braced(before)}{{name}}{_braced(after)}"
        joins = Counter(names)
        count = sum(joins[f"{before}{score}{after}"] == 1 for score in known)
        tried.append((count, "clip_name", template))
    sides = [Counter(_ids(of)) for of in (names, list(map(base, map(trimmed, scores))))]
    count = sum(times == 1 and sides[1][key] == 1 for key, times in sides[0].items())
    tried.append((count, "match", _ID))
    most = max(tried, key=lambda one: one[0])
    if most[0] < _LEAST:
        return ()
    return (
        f"corpus.{most[1]} = {show(json.dumps(most[2], ensure_ascii=False))} would join {most[0]:,} of them",
    )


def _braced(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _ids(names: Sequence[str]) -> list[str]:
    found = (re.search(_ID, name) for name in names)
    return [one[1] for one in found if one]
