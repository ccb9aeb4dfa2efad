"""Which rows count: those in the slice that the newest plan gives their clip.

A clip that has changed, and one that is gone, is in another slice of the newest plan, or in none, so its
earlier rows, failures and log entries count no more. In a run with one generation of its manifest all do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from vmafarm.disk.arrow import numbers
from vmafarm.disk.file_stamp import Stamp
from vmafarm.disk.sealed_parquet import DamagedError, open_sealed
from vmafarm.run_folder.manifest import load_generation, load_manifest, load_slices
from vmafarm.run_folder.manifest_file import is_manifest, stated_in
from vmafarm.run_folder.paths import RunFolder


@dataclass(frozen=True)
class Outline:
    """The manifest of a run but for its clips.

    Attributes
    ----------
    clips
        Number of clips, at least 1.
    of
        Of a sample: clips of the run; 0: this is the whole run.
    slices
        Numbers of the slices that any generation has had.
    digest, digests
        Of the newest generation, as the file states it, and of all.
    plan_digest
        As `digest`; of a sample, that of the plan.
    """

    clips: int
    of: int
    slices: frozenset[int]
    digest: str
    digests: frozenset[str]
    plan_digest: str


def read_outline(folder: RunFolder) -> Outline:
    """Read the manifest except for the names of its clips.

    Raises
    ------
    UsageError
        There is no manifest, or it is damaged.
    """
    with suppress(OSError, DamagedError, ValueError, KeyError, TypeError):
        file = open_sealed(folder.manifest)
        stated = stated_in(file.schema)
        if is_manifest(file.schema) and file.rows and "earlier" not in stated:
            slices = frozenset(numbers(file.read(["slice"])["slice"]).tolist())
            if min(slices) >= 0 and file.rows > max(slices):
                digest = str(stated["manifest"])
                return Outline(file.rows, 0, slices, digest, frozenset([digest]), digest)
    manifest = load_manifest(folder)  # raises an error that says what is wrong
    every = manifest.slices.tolist() if manifest.generation == 1 else range(manifest.slice_count)
    return Outline(
        len(manifest.names), manifest.of, frozenset(every), manifest.digest, manifest.digests,
        manifest.plan_digest,
    )  # fmt: skip


def read_places(folder: RunFolder, slices: Collection[int] | None = None) -> Mapping[str, int] | None:
    """The slice of each clip in which alone its rows count; None: in the first generation, in any.

    Parameters
    ----------
    folder
        The run.
    slices
        Only clips of these are asked about: a few are read alone; None: all.

    Raises
    ------
    UsageError, UnavailableError
        The manifest cannot be read.
    """
    if folder.is_planned_once():
        return None
    if slices is not None and len(slices) <= _FEW:
        return load_slices(folder, slices).places
    path = folder.manifest
    return _places(path, Stamp.now(path))


_FEW = 1_000


@lru_cache(maxsize=2)
def _places(path: Path, stamp: Stamp | None) -> Mapping[str, int] | None:
    return load_generation(path).places
