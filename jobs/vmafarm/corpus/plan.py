"""Plans a run: joins scores and clips into the manifest and its slices, which are then final."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vmafarm.common.errors import UsageError, show
from vmafarm.common.layout import wrapped
from vmafarm.common.text import counted, size
from vmafarm.config.sections import Config, keys
from vmafarm.corpus.clips import list_clips
from vmafarm.corpus.frozen_config import (
    DIGEST,
    LIMIT,
    config_to_freeze,
    keep_copy,
    read_frozen_config,
    with_values,
)
from vmafarm.corpus.join import Joined, join, settle_missing
from vmafarm.corpus.scores import read_scores
from vmafarm.corpus.slices import balance, sample, slice_count
from vmafarm.corpus.squashfs import list_image, require_folder
from vmafarm.disk import durable
from vmafarm.run_folder.corpus_findings import Counts
from vmafarm.run_folder.manifest import (
    Manifest,
    corpus_differences,
    load_manifest,
    manifest_digest,
    write_manifest,
)
from vmafarm.run_folder.paths import RunFolder


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
        Its clips and slices.
    counts
        What was found in the corpus, including clips that are not part of the run.
    limit
        Number of clips requested; None: all.
    new
        Whether this call planned it (or would, in a dry run); False: it was planned before.
    asked_slices
        Number of slices that the configuration asks for; the manifest may have another.
    may_lose_names
        Whether the file system of the new run's folder cannot sync folders.
    """

    folder: RunFolder
    config: Config
    manifest: Manifest
    counts: Counts
    limit: int | None
    new: bool
    asked_slices: int
    may_lose_names: bool = False

    def lines(self) -> list[str]:
        """Return the plan as lines that fit the terminal."""
        manifest = self.manifest
        weights = np.bincount(manifest.slices, weights=manifest.bytes.astype(np.float64))
        mean = float(weights.mean())
        over = (float(weights.max()) / mean - 1) * 100 if mean else 0.0
        of = f" (a sample, limit {self.limit:,})" if self.limit is not None else ""
        lines = [
            *self.counts.lines(),
            f"run {self.folder.name}: {counted(len(manifest.names), 'clip')}{of}, "
            f"{size(sum(manifest.bytes.tolist()))}, {counted(manifest.slice_count, 'slice')}",
        ]
        if manifest.slice_count > 1:
            lines.append(f"the heaviest slice is {over:.1f}% heavier than the mean")
        if outside := self.counts.outside.count:
            lines += [
                f"{counted(outside, 'clip')} {'lead' if outside > 1 else 'leads'} out of the clips folder: "
                "a container sees them only",
                "if slurm.binds has the folders that they lead to",
            ]
        if self.may_lose_names:
            lines.append(
                f"warning: the file system of {show(str(self.folder.path))} cannot sync folders: a power "
                "loss may cost names of files written shortly before; their clips are then scored again"
            )
        if not self.new:
            lines.append("already planned with the same inputs: nothing to do")
            if self.asked_slices != manifest.slice_count:
                lines.append(
                    f"the cut into {counted(manifest.slice_count, 'slice')} is kept, "
                    f"not changed to {self.asked_slices:,}: a plan is final"
                )
        return [part for line in lines for part in wrapped(line, then="")]


def plan(config: Config, *, limit: int | None = None, dry_run: bool = False) -> Plan:
    """Plan a run, unless it is planned already.

    Parameters
    ----------
    config
        Sections used: run, corpus, engine, slices, slurm.
    limit
        A reproducible sample of so many clips, at least 1; None: all.
    dry_run
        Write nothing.

    Returns
    -------
    Plan
        ``new`` is False where the run was planned before with the same inputs.

    Raises
    ------
    UsageError
        Clips or scores are not given, missing or wrong; clips lack a score; or the run is already
        planned with other inputs.
    UnavailableError
        Something cannot be read or written.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit = {limit}: expected a number of clips, at least 1")
    folder = config.folder
    values = config_to_freeze(config, limit)
    frozen = with_values(config, values)
    planned = folder.manifest.exists()
    if planned:
        _refuse_other_keys(folder, read_frozen_config(folder), values)
    joined = _read_corpus(config, values)
    if limit is not None:
        joined = _sample(joined, limit)
    cut = slice_count(
        len(joined.names), config.slices.count, config.slices.clips_per_slice, config.slurm.parallelism
    )
    manifest = Manifest(
        joined.names,
        joined.mos,
        joined.bytes,
        balance(joined.bytes, cut),
        manifest_digest(joined.names, joined.mos, joined.bytes),
    )
    if not planned and not dry_run:
        planned = not _write_first(folder, values, manifest)
        if planned:
            _refuse_other_keys(folder, read_frozen_config(folder), values)
    kept = manifest
    if planned:
        kept = load_manifest(folder)
        _refuse_other_corpus(folder, kept, manifest)
    if not dry_run:
        # If a plan was killed before the manifest's name was durable, there is no copy yet; writing it makes
        # both names durable before rows depend on them.
        keep_copy(folder)
    return Plan(
        folder, frozen, kept, joined.counts, limit, new=not planned, asked_slices=cut,
        may_lose_names=not planned and durable.may_lose_names(folder.path),
    )  # fmt: skip


def _read_corpus(config: Config, values: Mapping[str, Any]) -> Joined:
    scores = read_scores(
        Path(values["corpus.scores"]),
        name_column=config.corpus.name_column,
        mos_column=config.corpus.mos_column,
        mos_min=config.corpus.mos_min,
        mos_max=config.corpus.mos_max,
    )
    path = Path(values["corpus.clips"])
    if not config.slurm.uses_image:
        require_folder(path)
    clips = list_clips(path, list_image(path, config.extract.scratch))
    joined = join(clips, scores)
    return settle_missing(joined, config.corpus.missing_mos)


def _sample(joined: Joined, limit: int) -> Joined:
    chosen = sample(joined.names, limit)
    names = [joined.names[at] for at in chosen]
    return Joined(names, joined.mos[chosen], joined.bytes[chosen], joined.counts)


def _refuse_other_keys(folder: RunFolder, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    defaults = keys()
    lines = []
    for key, value in now.items():
        # A key that this version added was at its default when the run was planned.
        was = before[key] if key in before else defaults[key].default if key in defaults else None
        if was != value:
            lines.append(f"  {key}: planned with {_value(key, was)}, now {_value(key, value)}")
    if lines:
        _refuse(folder, lines)


def _refuse_other_corpus(folder: RunFolder, existing: Manifest, new: Manifest) -> None:
    stated = read_frozen_config(folder).get(DIGEST)
    if stated != existing.digest:
        raise UsageError(
            f"{show(str(folder.manifest))} does not belong to {folder.config.name} beside it: "
            f"digest {existing.digest}, expected {show(str(stated))}",
            "plan again under another run.name",
        )
    if existing.digest != new.digest:
        _refuse(folder, [f"  {line}" for line in corpus_differences(existing, new)])


def _refuse(folder: RunFolder, lines: list[str]) -> None:
    raise UsageError(
        "\n".join([f'the run "{folder.name}" is already planned with other inputs:', *lines]),
        "a plan is final: choose another run.name, or restore the inputs it was planned with",
    )


def _value(key: str, value: object) -> str:
    if key == LIMIT and value == 0:
        return "all clips"
    return show(repr(value))


def _write_first(folder: RunFolder, values: Mapping[str, Any], manifest: Manifest) -> bool:
    """Write the manifest, which is the plan; False: another process has just planned this run."""
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
