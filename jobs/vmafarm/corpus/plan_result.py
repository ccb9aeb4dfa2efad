"""A planned run, and what is told about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vmafarm.common.errors import show
from vmafarm.common.layout import wrapped
from vmafarm.common.text import counted, size
from vmafarm.config.sections import Config
from vmafarm.corpus.changes import Changes
from vmafarm.corpus.raw_clips import GEOMETRY_HINT
from vmafarm.run_folder.corpus_findings import Counts
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.planned_clips import Manifest


@dataclass(frozen=True, eq=False)
class Plan:
    """A planned run.

    Attributes
    ----------
    folder
        Its folder.
    config
        The configuration with what the plan freezes.
    manifest
        Its clips and slices; with ``run.sample`` those of the sample.
    counts
        What was found in the corpus, including clips that are not part of the run.
    new
        Whether this call planned it (or would, in a dry run); False: it was planned before.
    changes
        What differs from the plan before; nothing where there was none.
    asked_slices
        Number of slices that the configuration asks for; the manifest may have another.
    may_lose_names
        Whether the file system of the new run's folder cannot sync folders.
    notes
        What is to be told about the label file.
    nearest
        As in `vmafarm.corpus.join.Joined`.
    """

    folder: RunFolder
    config: Config
    manifest: Manifest
    counts: Counts
    new: bool
    changes: Changes
    asked_slices: int
    may_lose_names: bool = False
    notes: tuple[str, ...] = ()
    nearest: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the plan as lines that fit the terminal."""
        return [part for line in self._lines() for part in wrapped(line, then=_below(line))]

    def _lines(self) -> Iterator[str]:
        manifest = self.manifest
        scored = bool(self.config.corpus.scores)
        yield from self.notes
        yield from self.counts.lines(scored=scored)
        if scored and (lacking := self.counts.without_score.count):
            kept = self.config.corpus.missing_mos == "nan"
            fate = "kept with mos = NaN" if kept else "left out"
            more = "; examples, with what is near:" if self.nearest else ""
            yield f"{counted(lacking, 'clip')} without a score: {fate}{more}"
            yield from (f"    {line}" for line in self.nearest)
        if not scored:
            yield (
                "no scores given (corpus.scores): mos is NaN in all rows, and what is about scores does not "
                "apply; they can be added later without scoring again"
            )
        if self.changes:
            yield f"changed since plan {manifest.generation - (2 if manifest.of else 1)}:"
            yield from (f"  {line}" for line in self.changes.lines())
        of = f" (a sample of {manifest.of:,})" if manifest.of else ""
        slices = int(np.count_nonzero(np.bincount(manifest.slices)))
        yield (
            f"run {self.folder.name}: {counted(len(manifest.names), 'clip')}{of}, "
            f"{size(sum(manifest.bytes.tolist()))}, {counted(slices, 'slice')}"
        )
        if slices > 1 and manifest.generation == 1:
            weights = np.bincount(manifest.slices, weights=manifest.bytes.astype(np.float64))
            mean = float(weights.mean())
            over = (float(weights.max()) / mean - 1) * 100 if mean else 0.0
            yield f"the heaviest slice is {over:.1f}% heavier than the mean"
        if outside := self.counts.outside.count:
            leads = "lead" if outside > 1 else "leads"
            yield (f"{counted(outside, 'clip')} {leads} out of the clips folder: a container sees them only")
            yield "if slurm.binds has the folders that they lead to"
        if self.counts.raw.count:
            yield GEOMETRY_HINT
        if self.may_lose_names:
            yield (
                f"warning: the file system of {show(str(self.folder.path))} cannot sync folders: a power "
                "loss may cost names of files written shortly before; their clips are then scored again"
            )
        if not self.new and not self.changes:
            yield "already planned with the same inputs: nothing to do"
            if manifest.generation == 1 and self.asked_slices != slices:
                yield (
                    f"the cut into {counted(slices, 'slice')} is kept, not changed to "
                    f"{self.asked_slices:,}: rows lie in these slices"
                )


def _below(line: str) -> str:
    """What the lines below begin with, where an indented line is too long."""
    indent = len(line) - len(line.lstrip(" "))
    return " " * (indent + 2) if indent else ""
