"""What has changed between two generations of a plan, and the slices of the new one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.errors import UsageError
from vmafarm.common.text import counted
from vmafarm.config.geometry import without_rate
from vmafarm.corpus.slices import balance
from vmafarm.run_folder.corpus_findings import NONE, Tally, examples, tally
from vmafarm.run_folder.planned_clips import Manifest

MOST_GONE = 0.1
"""Share of the clips that may be gone before a plan takes it for a wrong path."""


@dataclass(frozen=True)
class Changes:
    """What differs from the plan before.

    Attributes
    ----------
    clips
        Number of clips before.
    added, gone, changed, reshaped, relabelled
        Clips that are new; that are no longer there; of another size or content; of another geometry by the
        label file; with another score alone.
    moved
        Lines on where the corpus and its scores are read from, or how, if that has changed.
    """

    clips: int = 0
    added: Tally = NONE
    gone: Tally = NONE
    changed: Tally = NONE
    reshaped: Tally = NONE
    relabelled: Tally = NONE
    moved: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.of_clips or self.relabelled.count or self.moved)

    @property
    def of_clips(self) -> int:
        """Number of clips that were added, changed or are gone."""
        return self.added.count + self.gone.count + self.changed.count + self.reshaped.count

    @property
    def many_gone(self) -> bool:
        """Whether so many clips are gone that the path may be wrong."""
        return self.gone.count > MOST_GONE * self.clips

    def lines(self) -> list[str]:
        """Counts and the first names, for the terminal."""
        kinds = {
            "added": self.added, "gone": self.gone, "of another size or content": self.changed,
            "with another geometry": self.reshaped, "with another score": self.relabelled,
        }  # fmt: skip
        lines = []
        for kind, found in kinds.items():
            if found.count:
                lines += [f"{counted(found.count, 'clip')} {kind}:", examples(found)]
        return [*lines, *self.moved]


def compare_corpus(
    before: Manifest, now: Manifest, moved: Iterable[str] = (), others: Collection[str] = ()
) -> Changes:
    """Compare the clips and scores of two plans.

    Parameters
    ----------
    before, now
        Of `now`, slices do not count.
    moved
        See `Changes.moved`.
    others
        Clips that are known to have another content.
    """
    if before.digest == now.digest and not others:
        return Changes(len(before.names), moved=tuple(moved))
    known = {name: at for at, name in enumerate(before.names)}
    there = set(now.names)
    both = [(name, known[name], at) for at, name in enumerate(now.names) if name in known]
    old = np.fromiter((one for _, one, _ in both), np.int64, len(both))
    new = np.fromiter((one for _, _, one in both), np.int64, len(both))
    resized = before.bytes[old] != now.bytes[new]
    resized |= np.fromiter((name in others for name, _, _ in both), bool, len(both))
    then, today = _frames(before.geometry), _frames(now.geometry)
    reshaped = np.fromiter((then.get(name) != today.get(name) for name, _, _ in both), bool, len(both))
    reshaped &= ~resized
    one, other = before.mos[old], now.mos[new]
    rescored = ~((one == other) | (np.isnan(one) & np.isnan(other))) & ~resized & ~reshaped
    return Changes(
        len(before.names),
        tally([name for name in now.names if name not in known]),
        tally([name for name in before.names if name not in there]),
        tally([both[at][0] for at in np.flatnonzero(resized)]),
        tally([both[at][0] for at in np.flatnonzero(reshaped)]),
        tally([both[at][0] for at in np.flatnonzero(rescored)]),
        tuple(moved),
    )


def _frames(geometry: Mapping[str, str]) -> dict[str, str]:
    """What the frames of raw clips are by the label file, without the rate, on which no value depends."""
    return {name: without_rate(words) for name, words in geometry.items()}


def require_asked(name: str, changes: Changes, *, update: bool, drop: bool) -> None:
    """Refuse changes of the clips of a run that the user did not ask for; raises UsageError."""
    if update and (drop or not changes.many_gone):
        return
    flags = "--update --drop" if changes.many_gone else "--update"
    what = "more than a tenth of its clips are gone" if changes.many_gone else "the clips are others"
    raise UsageError(
        "\n".join(
            [
                f'the run "{name}" is already planned, and {what}:',
                *(f"  {line}" for line in changes.lines()),
            ]
        ),
        f"to take this as its new plan: {flags} (rows of clips that are the same are kept); for a run of its "
        "own: another name (--run)",
    )


def keep_slices(
    earlier: Sequence[Manifest], now: Manifest, clips_per_slice: int, others: Collection[str] = ()
) -> NDArray[np.int32]:
    """Slices of the clips of a new generation.

    A clip that any earlier generation had with the same size and frames is in that generation's slice, where
    its rows are. Every other one is in a new slice: rows of the clip as it was do not count there.

    Parameters
    ----------
    earlier
        The generations so far, the oldest first.
    now
        The new generation; its slices do not count.
    clips_per_slice
        Clips in a new slice, at most on average.
    others
        Clips that are in a new slice in any case.

    Returns
    -------
    ndarray
        int32, shape (now.names,).
    """
    places: dict[tuple[str, int], int] = {}
    for manifest in earlier:
        places.update(zip(_clips(manifest), manifest.slices.tolist(), strict=True))
    slices = np.fromiter(
        (
            -1 if name in others else places.get(clip, -1)
            for name, clip in zip(now.names, _clips(now), strict=True)
        ),
        np.int32,
        len(now.names),
    )
    new = np.flatnonzero(slices < 0)
    if new.size:
        first = max(manifest.slice_count for manifest in earlier)
        slices[new] = first + balance(now.bytes[new], -(-new.size // clips_per_slice))
    return slices


def _clips(manifest: Manifest) -> Iterator[tuple[str, int]]:
    """What a clip is: its name, with the frames that the label file says, and its size."""
    names: Sequence[str] = manifest.names
    if frames := _frames(manifest.geometry):
        names = [f"{name}\0{frames[name]}" if name in frames else name for name in names]
    return zip(names, manifest.bytes.tolist(), strict=True)
