"""Rules by which a clip and a score belong together, strictest first, and who was given to whom."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from vmafarm.corpus.clips import stem
from vmafarm.corpus.names import Key, base, with_extension

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


def _given(key: str) -> str | None:
    return key or None


class Matching:
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
        if not self.is_open():
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

    def is_open(self) -> bool:
        """Whether a clip without score and a score without clip are left."""
        return -1 in self.score_of and -1 in self.clip_of

    def go_by_key(self, key: Key) -> None:
        """Try one more key of the names, the same on both sides."""
        if self.is_open():
            self._written = list(self._clips), list(self._scores)
            self._give((key, key), strict=True)

    def give_equal(self, clip_keys: list[str], score_keys: list[str]) -> None:
        """Join those whose keys are equal; "" equals nothing."""
        self._written = clip_keys, score_keys
        self._give((_given, _given), strict=True)

    def _reached(self, rules: Sequence[_Rule]) -> set[int]:
        """Scores that one of the rules gives to a clip without score, or would if that were the only one."""
        return {score for rule in rules for _, found in self._fitting(rule) for score in found}

    def _fitting(self, rule: _Rule) -> Iterator[tuple[list[int], list[int]]]:
        """Clips and scores of each key that a clip without score and a score without clip share."""
        if not self.is_open():
            return
        sides = [
            (list(map(key_of, names)), given)
            for key_of, names, given in zip(rule, self._written, (self.score_of, self.clip_of), strict=True)
        ]
        clip_keys, score_keys = (
            {key for key, to in zip(keys, given, strict=True) if to < 0} for keys, given in sides
        )
        shared = clip_keys & score_keys - {None}
        if shared:
            clips, scores = (_Places(keys, shared) for keys, _ in sides)
            yield from ((clips.of(key), scores.of(key)) for key in clips.first)

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


class _Places:
    """Where each of the shared keys is; `first` has its first place, and the keys in the order of these.

    Nearly every key is there once: a list for each would be millions of objects, which the garbage collector
    looks through again and again.
    """

    def __init__(self, keys: Sequence[str | None], shared: Collection[str | None]) -> None:
        self.first: dict[str | None, int] = {}
        self._several: dict[str | None, list[int]] = {}
        for at, key in enumerate(keys):
            if key in shared and (first := self.first.setdefault(key, at)) != at:
                self._several.setdefault(key, [first]).append(at)

    def of(self, key: str | None) -> list[int]:
        return self._several.get(key) or [self.first[key]]
