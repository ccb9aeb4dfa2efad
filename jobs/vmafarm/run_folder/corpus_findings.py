"""What a corpus was found to hold: one set of counts for the terminal and for JSON."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, fields

from vmafarm.common.errors import show
from vmafarm.common.say import text_width

_EXAMPLES = 3


@dataclass(frozen=True)
class Tally:
    """How many, and the first few names."""

    count: int = 0
    names: tuple[str, ...] = ()


NONE = Tally()


def tally(names: Sequence[str]) -> Tally:
    """Count names and keep the first few in byte order."""
    return Tally(len(names), tuple(heapq.nsmallest(_EXAMPLES, names)))


def examples(found: Tally) -> str:
    """Return the example names as one indented line that fits the terminal."""
    text = ", ".join(map(show, found.names))
    more = found.count - len(found.names)
    end = f", and {more:,} more" if more else ""
    room = text_width() - 4 - len(end)
    return "    " + (text if len(text) <= room else text[: room - 3] + "...") + end


@dataclass(frozen=True)
class Counts:
    """What was found in the clips folder and in the scores file, and what was not used."""

    clips: Tally = NONE
    scores: Tally = NONE
    joined: Tally = NONE
    without_score: Tally = NONE
    without_clip: Tally = NONE
    duplicate_scores: Tally = NONE
    in_doubt: Tally = NONE
    respelled: Tally = NONE
    dangling: Tally = NONE
    same_stem: Tally = NONE
    empty: Tally = NONE
    outside: Tally = NONE
    linked_folders: Tally = NONE
    clip_folders: Tally = NONE
    raw: Tally = NONE
    not_regular: Tally = NONE
    invalid: Tally = NONE
    ignored: Tally = NONE
    hidden: Tally = NONE

    def as_dict(self) -> dict[str, int]:
        """Every count by its name."""
        return {kind.name: getattr(self, kind.name).count for kind in fields(self)}

    def lines(self, *, scored: bool = True) -> list[str]:
        """Return the counts as lines; rare findings where there are any, scores if `scored`."""
        lines = []
        for kind, label in _LABELS.items():
            if not scored and kind in _OF_SCORES:
                continue
            found: Tally = getattr(self, kind)
            if found.count or kind in _ALWAYS:
                lines.append(f"{label:<38}{found.count:>12,}")
            if found.names:
                lines.append(examples(found))
        return lines


_LABELS = {
    "clips": "clips",
    "scores": "scores",
    "joined": "clips with their score",
    "without_score": "clips without a score",
    "without_clip": "scores without a clip",
    "duplicate_scores": "rows of scores that repeat another",
    "dangling": "dangling links, left out",
    "same_stem": "names that differ only in extension",
    "in_doubt": "scores that fit more than one clip",
    "respelled": "joined despite another spelling",
    "empty": "clips of 0 bytes",
    "outside": "links to clips outside the folder",
    "linked_folders": "links to folders, not searched",
    "clip_folders": "folders named like a clip, searched",
    "raw": "raw files without geometry, left out",
    "not_regular": "neither file nor folder, left out",
    "invalid": "names that are not UTF-8, left out",
    "ignored": "other files, left out",
    "hidden": "hidden files and folders, left out",
}
_ALWAYS = tuple(_LABELS)[:8]
_OF_SCORES = ("scores", "joined", "without_score", "without_clip", "duplicate_scores")
