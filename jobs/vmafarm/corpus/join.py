"""Which score belongs to which clip."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.errors import UsageError
from vmafarm.corpus.clips import Clips, stem
from vmafarm.corpus.names import SPELLINGS, Key, base, nearest, with_extension
from vmafarm.corpus.scores import Scores
from vmafarm.run_folder.corpus_findings import Counts, Tally, examples, tally


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
    nearest
        How a clip and a score that were not joined differ, for the first clips without a score.
    """

    names: list[str]
    mos: NDArray[np.float64]
    bytes: NDArray[np.int64]
    counts: Counts
    nearest: tuple[str, ...] = ()


_Rule = tuple[Key, Key]

_RULES: tuple[_Rule, ...] = ((str, str), (base, str), (str, base))
"""What must be equal for a clip (first) and a score (second), strictest first: the whole path, then
the base name of one side. Two different paths never match."""

_STEMS: tuple[_Rule, ...] = (
    (stem, stem),
    (lambda name: base(stem(name)), stem),
    (stem, lambda name: base(stem(name))),
)
"""The same without extension."""

_LONGER: tuple[_Rule, ...] = (
    (stem, with_extension),
    (lambda name: base(stem(name)), with_extension),
    (stem, lambda name: with_extension(base(name))),
)
"""The clip has one extension more: ``a.mov.mp4`` for ``a.mov``. Stricter than another extension."""

_SHORTER: tuple[_Rule, ...] = (
    (str, lambda name: with_extension(stem(name))),
    (base, lambda name: with_extension(stem(name))),
    (str, lambda name: with_extension(base(stem(name)))),
)
"""The score has one extension more."""


def join(clips: Clips, scores: Scores) -> Joined:
    """Give each clip its score, where it is beyond doubt which one that is.

    Each rule is tried on what the stricter ones have left. It joins a clip and a score only if no
    other clip and no other score of the corpus has the same key, and if no stricter rule would have
    given the score to one of several other clips: a missing score is reported, a wrong one would go
    unnoticed. When all rules have been tried, they are tried again with looser spellings of the names.

    Parameters
    ----------
    clips, scores
        Names are unique on either side.

    Returns
    -------
    Joined
        All clips; no score is given to two of them.
    """
    matching = _Matching(clips.names, scores.names)
    matching.go_through(str, strict=False)
    as_written = np.array(matching.score_of, dtype=np.int64) >= 0
    for spelling in SPELLINGS:
        matching.go_through(spelling, strict=True)
    score_of = np.array(matching.score_of, dtype=np.int64)
    found = score_of >= 0
    mos = np.full(len(clips.names), np.nan)
    mos[found] = scores.mos[score_of[found]]
    without_score = list(compress(clips.names, ~found))
    without_clip = [name for name, clip in zip(scores.names, matching.clip_of, strict=True) if clip < 0]
    in_doubt = [scores.names[at] for at in sorted(matching.doubtful)]
    counts = replace(
        clips.counts,
        scores=Tally(len(scores.names)),
        joined=Tally(int(found.sum())),
        without_score=tally(without_score),
        without_clip=tally(without_clip),
        duplicate_scores=tally(scores.duplicates),
        respelled=tally(list(compress(clips.names, found & ~as_written))),
        in_doubt=tally(in_doubt),
    )
    return Joined(clips.names, mos, clips.bytes, counts, nearest(without_score, without_clip, set(in_doubt)))


class _Matching:
    """Who was given to whom so far.

    Attributes
    ----------
    score_of, clip_of
        Position of each clip's score and of each score's clip; -1: none.
    doubtful
        Positions of scores that fit several clips, or a clip that other scores fit as well.
    """

    def __init__(self, clips: Sequence[str], scores: Sequence[str]) -> None:
        self._clips, self._scores = clips, scores
        self._written: tuple[list[str], list[str]] = [], []
        self.score_of = [-1] * len(clips)
        self.clip_of = [-1] * len(scores)
        self.doubtful: set[int] = set()
        self._doubtful_clips: set[int] = set()

    def go_through(self, spelling: Callable[[str], str], *, strict: bool) -> None:
        """Try all rules on names that are written in the same way.

        Parameters
        ----------
        spelling
            Makes the same of names that are written differently.
        strict
            Give nothing to a clip either that several scores fit by a stricter rule.
        """
        if -1 not in self.score_of or -1 not in self.clip_of:
            return
        written = list(map(spelling, self._clips)), list(map(spelling, self._scores))
        if written == self._written:
            return
        self._written = written
        for rule in _RULES:
            self._give(rule, strict=strict)
        held = self._reached(_LONGER[:1])
        self._give(_STEMS[0], strict=strict, held=held)
        held |= self._reached(_LONGER[1:])
        for rule in _STEMS[1:]:
            self._give(rule, strict=strict, held=held)
        for rule in _LONGER:
            self._give(rule, strict=True)
        self.doubtful.update(at for at in held if self.clip_of[at] < 0)
        for rule in _SHORTER:
            self._give(rule, strict=True)

    def _reached(self, rules: Sequence[_Rule]) -> set[int]:
        """Scores that one of the rules gives to a clip without score, or would if that were the only one."""
        return {score for rule in rules for _, found in self._fitting(rule) for score in found}

    def _fitting(self, rule: _Rule) -> list[tuple[list[int], list[int]]]:
        """Clips and scores of each key that a clip without score and a score without clip share."""
        (clip_key, score_key), (clips, scores) = rule, self._written
        keys = {clip_key(name) for name, score in zip(clips, self.score_of, strict=True) if score < 0}
        keys &= {score_key(name) for name, clip in zip(scores, self.clip_of, strict=True) if clip < 0}
        keys.discard(None)
        if not keys:
            return []
        found: dict[str | None, tuple[list[int], list[int]]] = {key: ([], []) for key in keys}
        for side, names, key_of in ((0, clips, clip_key), (1, scores, score_key)):
            for at, key in enumerate(map(key_of, names)):
                if key in found:
                    found[key][side].append(at)
        return list(found.values())

    def _give(self, rule: _Rule, *, strict: bool, held: Collection[int] = ()) -> None:
        for clips, scores in self._fitting(rule):
            open_clips = [at for at in clips if self.score_of[at] < 0]
            open_scores = [at for at in scores if self.clip_of[at] < 0 and at not in held]
            (clip, score) = clips[0], scores[0]
            alone = len(clips) == len(scores) == len(open_scores) == 1
            if alone and score not in self.doubtful and not (strict and clip in self._doubtful_clips):
                self.score_of[clip], self.clip_of[score] = score, clip
            elif open_scores:
                self.doubtful.update(open_scores)
                self._doubtful_clips.update(open_clips)


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
    lines = [
        f"{missing.count:,} of {joined.counts.clips.count:,} clips have no score:",
        examples(missing),
    ]
    if joined.counts.without_clip.count:
        lines += ["scores without a clip:", examples(joined.counts.without_clip), *joined.nearest]
    raise UsageError(
        "\n".join(lines),
        "add their scores to corpus.scores, or\n"
        'set corpus.missing_mos = "skip" to leave these clips out, or\n'
        'set corpus.missing_mos = "nan" to keep them with mos = NaN',
    )
