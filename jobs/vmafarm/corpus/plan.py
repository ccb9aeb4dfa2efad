"""Plans a run: joins scores and clips into the manifest and its slices. A later plan adds a generation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vmafarm.common.errors import UsageError, show
from vmafarm.common.steps import step, working
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
from vmafarm.corpus.plan_result import Plan
from vmafarm.corpus.planned_set import (
    refuse_other_frames,
    refuse_other_set,
    refuse_place_of_frames,
    tell_other_set,
    with_set,
)
from vmafarm.corpus.read_corpus import choose_preset
from vmafarm.corpus.sample import take_sample, write_sample
from vmafarm.corpus.slices import balance, sample, slice_count
from vmafarm.disk import durable
from vmafarm.run_folder.manifest import load_generation, load_manifest, write_manifest
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.planned_clips import Manifest, manifest_digest


@working("planning")
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
    values = with_set(config_to_freeze(config, before), before, config)
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
    step("writing the plan" if new else "comparing with the plan")
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
        step("writing the labels")
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
    refuse_other_set(folder, before, values)
    refuse_other_frames(folder, before, values)
    moved = [*tell_moved(before, values), *tell_other_set(before, values)]
    changes = compare_corpus(kept, made, moved, asked.others)
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
    refuse_place_of_frames(folder)
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
