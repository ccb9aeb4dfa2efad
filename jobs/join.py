"""Which score belongs to which clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import compress, count, repeat
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jobs.corpus import Clips, stem
from jobs.counts import Counts, Tally, examples, tally
from jobs.errors import UsageError
from jobs.scores import Scores


@dataclass(frozen=True, eq=False)
class Joined:
    """Clips with their scores.

    Attributes
    ----------
    names, bytes
        As in `Clips`.
    mos
        float64, shape (names,); NaN for a clip without a score.
    counts
        Of the whole corpus.
    """

    names: list[str]
    mos: NDArray[np.float64]
    bytes: NDArray[np.int64]
    counts: Counts


def _base(name: str) -> str:
    return name.rpartition("/")[2]


_Key = Callable[[str], str]
_RULES: tuple[tuple[_Key, _Key], ...] = (
    (str, str),
    (_base, str),
    (str, _base),
    (stem, stem),
    (lambda name: _base(stem(name)), stem),
    (stem, lambda name: _base(stem(name))),
)
"""What must be equal for a clip (first) and a score (second), strictest first: the whole path, then
the base name of one side, then the same without extension. Two different paths never match."""


def join(clips: Clips, scores: Scores) -> Joined:
    """Give each clip its score, where it is beyond doubt which one that is.

    Each rule is tried on what the stricter ones have left. It joins a clip and a score only if no
    other clip and no other score of the corpus has the same key: a missing score is reported, a
    wrong one would go unnoticed.

    Parameters
    ----------
    clips, scores
        Names are unique on either side.

    Returns
    -------
    Joined
        All clips; no score is given to two of them.
    """
    score_of = np.full(len(clips.names), -1, dtype=np.int64)
    used = np.zeros(len(scores.names), dtype=bool)
    for clip_key, score_key in _RULES:
        if used.all() or (score_of >= 0).all():
            break
        score_at = _unique(list(map(score_key, scores.names)))
        clip_at = _unique(list(map(clip_key, clips.names)))
        # A key's positions are its own, so none is written to twice.
        score = np.fromiter(score_at.values(), np.int64, len(score_at))
        clip = np.fromiter(map(clip_at.get, score_at, repeat(-1)), np.int64, len(score_at))
        both = (score >= 0) & (clip >= 0)
        score, clip = score[both], clip[both]
        free = ~used[score] & (score_of[clip] < 0)
        score_of[clip[free]] = score[free]
        used[score[free]] = True
    mos = np.full(len(clips.names), np.nan)
    found = score_of >= 0
    mos[found] = scores.mos[score_of[found]]
    counts = replace(
        clips.counts,
        scores=Tally(len(scores.names)),
        joined=Tally(int(found.sum())),
        without_score=tally(list(compress(clips.names, ~found))),
        without_clip=tally(list(compress(scores.names, ~used))),
        duplicate_scores=tally(scores.duplicates),
    )
    return Joined(clips.names, mos, clips.bytes, counts)


def _unique(keys: list[str]) -> dict[str, int]:
    """Key to its position; -1 where it occurs more than once."""
    at = dict(zip(keys, count(), strict=False))
    if len(at) < len(keys):
        at.update((key, -1) for key, times in Counter(keys).items() if times > 1)
    return at


def settle_missing(joined: Joined, missing_mos: Literal["error", "skip", "nan"]) -> Joined:
    """Apply ``corpus.missing_mos`` to the clips without a score.

    Raises
    ------
    UsageError
        There are some and the rule is ``error``, or none is left under ``skip``.
    """
    missing = joined.counts.without_score
    if not missing.count or missing_mos == "nan":
        return joined
    if missing_mos == "skip" and missing.count < joined.counts.clips.count:
        keep = ~np.isnan(joined.mos)
        names = list(compress(joined.names, keep))
        return Joined(names, joined.mos[keep], joined.bytes[keep], joined.counts)
    lines = [f"{missing.count:,} of {joined.counts.clips.count:,} clips have no score:", examples(missing)]
    if joined.counts.without_clip.count:
        lines += ["scores without a clip:", examples(joined.counts.without_clip)]
    raise UsageError(
        "\n".join(lines),
        "add their scores to corpus.scores, or\n"
        'set corpus.missing_mos = "skip" to leave these clips out, or\n'
        'set corpus.missing_mos = "nan" to keep them with mos = NaN',
    )
