"""Which rows count: those in the slice that the newest plan gives their clip.

A clip that has changed, and one that is gone, is in another slice of the newest plan, or in none, so its
earlier rows, failures and log entries count no more. In a run with one generation of its manifest all do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from vmafarm.disk.arrow import make_table, numbers
from vmafarm.disk.file_stamp import Stamp
from vmafarm.disk.sealed_parquet import DamagedError, open_sealed
from vmafarm.run_folder.manifest import load_generation, load_manifest, load_slices
from vmafarm.run_folder.manifest_file import is_manifest, stated_in
from vmafarm.run_folder.paths import RunFolder, slice_id
from vmafarm.sql import templates as sql


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


def add_planned(connection: duckdb.DuckDBPyConnection, folder: RunFolder, files: Mapping[str, Path]) -> bool:
    """Make the tables that `merge/shards` needs to leave out rows that do not count.

    Parameters
    ----------
    connection
        Gets the temporary tables ``planned`` (each clip that any generation had, and its slice, which is -1
        where it is gone) and ``placed`` (each file of rows, and its slice).
    folder
        The run.
    files
        Path of each file, and that of the shard to which its rows belong.

    Returns
    -------
    bool
        Whether rows have to be left out at all.
    """
    if folder.is_planned_once():
        return False
    newest = folder.manifest
    bound: dict[str, Any] = {"newest": sql.exact(newest)}
    earlier = [sql.exact(path) for path in folder.manifests() if path != newest]
    if earlier:
        bound["earlier"] = earlier
    planned = sql.render(
        "merge/planned", newest=sql.Parameter("newest"), earlier=sql.Parameter("earlier") if earlier else None
    )
    connection.execute(planned, bound)
    columns: list[list[Any]] = [list(files), [slice_id(shard.parent) for shard in files.values()]]
    schema = pa.schema({"filename": pa.string(), "slice": pa.int32()})
    connection.register("placed", make_table(columns, schema))
    return True


def count_rows(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> int:
    """Count all rows of these files, also those that do not count."""
    shards = sql.render("merge/shards", files=sql.Parameter("files") if files else [], planned=False)
    bound = {"files": list(files)} if files else {}
    rows: int = sql.one_row(connection, sql.render("merge/count", shards=shards), bound)["rows"]
    return rows
