"""Samples of clips: one that is stratified by size, and one that stands for the run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from vmafarm.common.errors import UsageError
from vmafarm.corpus.slices import sample
from vmafarm.run_folder.manifest import load_manifest, write_manifest
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.planned_clips import Manifest, manifest_digest, name_digest


def stratified(names: Sequence[str], sizes: Sequence[int], limit: int) -> list[int]:
    """Choose clips of all sizes, the same ones on every machine.

    Parameters
    ----------
    names
        Names, each once, in any order.
    sizes
        Bytes of each.
    limit
        How many are wanted, at least 0.

    Returns
    -------
    list of int
        Ascending positions of min(limit, names) clips. All are ordered by size and cut into `limit`
        strata of nearly equal counts; of each it is the clip whose name has the smallest BLAKE2b
        digest. A sample of twice as many contains the smaller one.
    """
    count = min(limit, len(names))
    order = sorted(range(len(names)), key=lambda at: (sizes[at], names[at].encode()))
    edges = [len(order) * i // count for i in range(count + 1)] if count else []
    strata = [order[first:last] for first, last in pairwise(edges)]
    return sorted(min(stratum, key=lambda at: name_digest(names[at])) for stratum in strata)


def take_sample(manifest: Manifest, limit: int) -> Manifest:
    """A sample of a generation, as if the other clips were gone."""
    chosen = sample(manifest.names, limit)
    names, mos, sizes = [manifest.names[at] for at in chosen], manifest.mos[chosen], manifest.bytes[chosen]
    geometry = {name: manifest.geometry[name] for name in names if name in manifest.geometry}
    return Manifest(
        names, mos, sizes, manifest.slices[chosen], manifest_digest(names, mos, sizes, geometry),
        manifest.generation + 1, (*manifest.earlier, manifest.digest), manifest.slice_count,
        of=len(manifest.names), geometry=geometry,
    )  # fmt: skip


def write_sample(folder: RunFolder, made: Manifest) -> None:
    """Write the manifest of a sample, unless it is there; that of an earlier generation is replaced."""
    try:
        there = load_manifest(folder)
    except UsageError:
        pass
    else:
        if (there.digest, there.earlier) == (made.digest, made.earlier):
            return
    write_manifest(folder, made)
