"""Plans a run: joins scores and clips into the manifest and its slices. A later plan adds a generation."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vmafarm.common.errors import UsageError, show
from vmafarm.common.layout import wrapped
from vmafarm.common.text import counted, size
from vmafarm.config.sections import Config
from vmafarm.corpus.changes import Changes, compare_corpus, keep_slices, require_asked
from vmafarm.corpus.frozen_config import (
    DIGEST,
    LIMIT,
    config_to_freeze,
    keep_copy,
    read_frozen_config,
    refuse_other_engine,
    refuse_other_geometry,
    tell_moved,
    with_values,
)
from vmafarm.corpus.full_reference import look_for_references
from vmafarm.corpus.join import Joined
from vmafarm.corpus.labels_of_run import describe_labels, write_labels
from vmafarm.corpus.raw_clips import GEOMETRY_HINT
from vmafarm.corpus.read_corpus import choose_preset
from vmafarm.corpus.sample import take_sample, write_sample
from vmafarm.corpus.slices import balance, sample, slice_count
from vmafarm.disk import durable
from vmafarm.run_folder.corpus_findings import Counts
from vmafarm.run_folder.manifest import load_generation, load_manifest, write_manifest
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.planned_clips import Manifest, manifest_digest


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


def plan(
    config: Config, *, dry_run: bool = False, update: bool = False, drop: bool = False,
    others: Collection[str] = (),
) -> Plan:  # fmt: skip
    """Plan a run; or, if it is planned, take what has changed since as a new generation of its manifest.

    Other scores, and a corpus that was moved, are taken at once: no row depends on them. Clips that were
    added or changed, or are gone, are taken only if that is asked for.

    Parameters
    ----------
    config
        Sections used: run, corpus, engine, slices, slurm. Of a planned run, keys of corpus and engine that
        were not set keep the values of its plan. With ``run.sample``, the manifest of a reproducible sample
        is made as well; the plan has all clips in any case.
    dry_run
        Write nothing.
    update
        Take clips that were added or changed, or are gone.
    drop
        With `update`, take it even if more than `vmafarm.corpus.changes.MOST_GONE` of the clips are gone.
    others
        Clips that are known to have another content, though their size is the same.

    Returns
    -------
    Plan

    Raises
    ------
    UsageError
        Clips or scores are not given, missing or wrong; clips lack a score; the clips have changed and
        `update` is not given; or rows of another engine are there.
    UnavailableError
        Something cannot be read or written.
    """
    folder = replace(config.folder, sample=0)
    newest = folder.manifest
    planned = newest.exists()
    before = read_frozen_config(folder) if planned else {}
    chosen = choose_preset(config, before)
    config, joined = chosen.config, chosen.corpus.joined
    values = config_to_freeze(config, before)
    labels, notes = describe_labels(chosen, values["corpus.carry"])
    if not planned:
        notes += look_for_references(chosen)
    if planned and before.get(LIMIT) and not update:  # an earlier version planned no more than a sample
        values[LIMIT] = before[LIMIT]
        joined = _sample(joined, before[LIMIT])
    geometry = chosen.corpus.geometry
    if geometry:
        geometry = {name: geometry[name] for name in joined.names if name in geometry}
    cut = slice_count(
        len(joined.names), config.slices.count, config.slices.clips_per_slice, config.slurm.parallelism
    )
    made = Manifest(
        joined.names,
        joined.mos,
        joined.bytes,
        np.zeros(len(joined.names), np.int32) if planned else balance(joined.bytes, cut),
        manifest_digest(joined.names, joined.mos, joined.bytes, geometry),
        geometry=geometry,
    )
    new = not planned
    if new and not dry_run and not _write_first(folder, values, made):
        return plan(config, update=update, drop=drop, others=others)  # another process was faster
    changes = Changes()
    if not new:
        asked = _Asked(newest, before, update, drop, frozenset(others))
        made, changes = _plan_again(config, folder, values, made, asked, dry_run=dry_run)
    if not dry_run:
        # If a plan was killed before the manifest's name was durable, there is no copy yet; writing it makes
        # both names durable before rows depend on them.
        keep_copy(folder)
        write_labels(folder, made.names, chosen, labels)
    if config.run.sample:
        made = take_sample(made, config.run.sample)
        if not dry_run:
            write_sample(config.folder, made)
    return Plan(
        config.folder, with_values(config, values), made, joined.counts, new, changes, cut,
        may_lose_names=new and durable.may_lose_names(folder.path), notes=(*chosen.notes, *notes),
        nearest=joined.nearest,
    )  # fmt: skip


def _below(line: str) -> str:
    """What the lines below begin with, where an indented line is too long."""
    indent = len(line) - len(line.lstrip(" "))
    return " " * (indent + 2) if indent else ""


def _sample(joined: Joined, limit: int) -> Joined:
    chosen = sample(joined.names, limit)
    names = [joined.names[at] for at in chosen]
    return replace(joined, names=names, mos=joined.mos[chosen], bytes=joined.bytes[chosen])


@dataclass(frozen=True)
class _Asked:
    newest: Path
    before: Mapping[str, Any]
    update: bool
    drop: bool
    others: frozenset[str]


def _plan_again(
    config: Config, folder: RunFolder, values: Mapping[str, Any], made: Manifest, asked: _Asked,
    *, dry_run: bool,
) -> tuple[Manifest, Changes]:  # fmt: skip
    """The newest generation, and what it changes: it is written if anything does."""
    kept, before = load_manifest(folder), asked.before
    if folder.manifest != asked.newest:  # what was read so far may be of the plan before
        raise _planned_meanwhile(folder)
    if before.get(DIGEST) != kept.digest:
        raise UsageError(
            f"{show(str(folder.manifest))} does not belong to {folder.config.name} beside it: "
            f"digest {kept.digest}, expected {show(str(before.get(DIGEST)))}",
            "plan again under another run.name",
        )
    refuse_other_engine(folder, before, values)
    refuse_other_geometry(folder, before, values)
    changes = compare_corpus(kept, made, tell_moved(before, values), asked.others)
    if not changes:
        return kept, changes
    if changes.of_clips:
        require_asked(folder.name, changes, update=asked.update, drop=asked.drop)
    generations = [kept]
    if changes.of_clips:
        generations = [load_generation(path) for path in folder.manifests()]
    made = replace(
        made, slices=keep_slices(generations, made, config.slices.clips_per_slice, asked.others),
        generation=kept.generation + 1, earlier=(*kept.earlier, kept.digest), slices_before=kept.slice_count,
    )  # fmt: skip
    if not dry_run:
        try:
            write_manifest(folder, made, values)
        except FileExistsError:
            raise _planned_meanwhile(folder) from None
    return made, changes


def _planned_meanwhile(folder: RunFolder) -> UsageError:
    return UsageError(
        f'"{folder.name}" has just been planned by another process',
        "run the same command again: it says what has changed since that plan",
    )


def _write_first(folder: RunFolder, values: Mapping[str, Any], manifest: Manifest) -> bool:
    """Write the manifest, which is the plan; False: another process has just planned this run."""
    if folder.name.endswith(".sample"):
        raise UsageError(
            f'run.name = "{folder.name}": samples of a run publish their table under such a name',
            "choose a name that does not end with .sample (--run)",
        )
    try:
        durable.make_folder(folder.path)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(
            f"{show(str(folder.path))}: a file is in the way, expected the folder of the run",
            "move it away, or choose another run.root or run.name",
        ) from None
    try:
        write_manifest(folder, manifest, values)
    except FileExistsError:
        return False
    return True
