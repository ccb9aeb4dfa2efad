"""Extractors and models left out of a clip's passes because they refuse its frame size or crash on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from vmafarm.common.text import counted
from vmafarm.engines.base import Engine, Pass
from vmafarm.engines.diagnosis import complains_of_memory
from vmafarm.engines.failure import ClipFailedError
from vmafarm.process.finished import Finished
from vmafarm.schema.extractors import ACCEPTED_SIZES

_Scored = TypeVar("_Scored")


class CrashedError(Exception):
    """A pass crashed, perhaps in an extractor that may be left out.

    Attributes
    ----------
    failed
        The clip's failure if that extractor was not the cause.
    suspects
        Optional extractors and models of the passes that crashed.
    """

    def __init__(self, failed: ClipFailedError, suspects: Sequence[str]) -> None:
        super().__init__(failed.message)
        self.failed = failed
        self.suspects = suspects


def refusing(engine: Engine, width: int, height: int) -> frozenset[str]:
    """Extractors of the plan and models that refuse frames of this size; none if it is unknown (0)."""
    return engine.refusing(width, height) if width else frozenset()


def crash_suspects(passes: Sequence[Pass], finished: Sequence[Finished]) -> list[str]:
    """Optional extractors and models of the passes that crashed, lack of memory aside."""
    run = {
        extractor
        for one, done in zip(passes, finished, strict=True)
        if done.crashed and not complains_of_memory(done)
        for extractor in (*one.extractors, *one.models)
    }
    return [producer for producer in ACCEPTED_SIZES if producer in run]


def without_crashing(score: Callable[[Sequence[str]], _Scored]) -> tuple[_Scored, list[str]]:
    """Score a clip, without the extractor that crashes on it if there is one.

    An extractor is to blame if the clip can be scored without it and crashes again with it: a transient crash
    must not cost a column.

    Parameters
    ----------
    score
        Scores the clip without these extractors; raises `CrashedError` or ClipFailedError.

    Returns
    -------
    scored, notes
        The result of `score`, and a remark on the extractor that was left out.

    Raises
    ------
    ClipFailedError
        The clip gave no row.
    """
    try:
        return score(()), []
    except CrashedError as crash:
        for extractor in crash.suspects:
            try:
                scored = score((extractor,))
            except (CrashedError, ClipFailedError):
                continue
            try:
                score(())
            except CrashedError:
                return scored, [f"{extractor} is left out: with it, {crash.failed.message}"]
            except ClipFailedError:
                pass
            break
        raise crash.failed from None


def remark(producer: str, width: int, height: int) -> str:
    """Remark on an extractor or model that refuses frames of this size."""
    if ACCEPTED_SIZES[producer].stretched(width, height):
        shape = "wide and low" if width > height else "tall and narrow"
        return f"{producer} is left out: {width}x{height} is too {shape} for it"
    return f"{producer} refuses {width}x{height}"


def describe_pass(one: Pass, width: int, height: int, frames: int) -> str:
    """Frame size and number, if known, and extractors of a pass, for the message of its failure."""
    size = f"{width}x{height}, " if width else ""
    size += f"{counted(frames, 'frame')}, " if frames else ""
    names = [name for name in one.extractors if name]
    filters = one.feature_set.filters if one.metadata else ()
    return f"({size}running {', '.join([*names, *one.models, *filters])})"
