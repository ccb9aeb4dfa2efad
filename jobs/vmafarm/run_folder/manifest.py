"""The manifest: the clips of a run. A later plan adds a generation in a file of its own."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vmafarm.common.errors import UsageError, show
from vmafarm.disk import durable
from vmafarm.disk.arrow import make_table, numbers, take
from vmafarm.disk.regular_files import open_regular
from vmafarm.disk.sealed_blocks import NoBlocksError, open_blocks, write_in_blocks
from vmafarm.disk.sealed_parquet import MOST_ROWS, open_sealed
from vmafarm.run_folder.manifest_file import (
    GEOMETRY,
    HINT,
    HISTORY,
    MANIFEST_SCHEMA,
    cuts,
    describe_columns,
    explained,
    is_manifest,
    is_slice_count,
    read_history,
    read_stated,
    stated_in,
)
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.planned_clips import Manifest, manifest_digest
from vmafarm.run_folder.provenance import METADATA_KEY

_LEADS_OUT = r"^/|(^|/)\.\.(/|$)"
"""Matches absolute paths and those that leave the clips folder (RE2)."""


def write_manifest(
    folder: RunFolder, manifest: Manifest, configuration: Mapping[str, Any] | None = None
) -> None:
    """Write a generation of the manifest atomically, unless it exists. From then on, it is the plan.

    Parameters
    ----------
    folder, manifest
        The run.
    configuration
        What the plan freezes. It is in the same file, so that either both exist or neither. None: do as
        earlier versions did, which had it only in config.toml.

    Raises
    ------
    FileExistsError
        There is such a generation; it was not changed.
    UnavailableError
        The run folder cannot be written.
    """
    document: dict[str, Any] = {"manifest": manifest.digest}
    if configuration is not None:
        document["configuration"] = dict(configuration)
    if manifest.generation > 1:
        document |= {name: getattr(manifest, name) for name in HISTORY}
    document |= {"slices": manifest.slice_count, "first": manifest.first, "examples": manifest.examples}
    order = np.argsort(manifest.slices, kind="stable")
    names = np.array(manifest.names, dtype=object)[order].tolist()
    columns: list[Any] = [
        names, manifest.mos[order], manifest.bytes[order], manifest.slices[order], order.astype(np.int32)
    ]  # fmt: skip
    schema = MANIFEST_SCHEMA
    if manifest.geometry:
        columns.append([manifest.geometry.get(name, "") for name in names])
        schema = schema.append(GEOMETRY)
    table = make_table(columns, schema.with_metadata({METADATA_KEY: json.dumps(document)}))
    edges = [0, *cuts(manifest.slices[order]), len(names)]
    blocks = [table.slice(begin, end - begin) for begin, end in pairwise(edges)]
    with durable.Draft(folder.manifest if manifest.of else folder.generation(manifest.generation)) as draft:
        write_in_blocks(blocks, cast(BinaryIO, draft))
        if manifest.of:  # follows from the plan, and a later plan may have another
            draft.publish()
        else:
            draft.publish_first()


def load_manifest(folder: RunFolder, expected: str = "") -> Manifest:
    """Read the manifest of a run and check it against its digest.

    Parameters
    ----------
    folder
        The run.
    expected
        Digest of the generation at the time of submission; empty: the newest generation.

    Raises
    ------
    UsageError
        There is none, or the file is not a manifest, or was truncated or changed.
    UnavailableError
        It cannot be read.
    """
    if folder.sample and not expected:
        _require_sample(folder)
    if expected:
        return load_generation(_find_generation(folder, expected))
    return load_generation(folder.manifest)


def load_slices(folder: RunFolder, slices: Collection[int], expected: str = "") -> Manifest:
    """Read the clips of some slices alone, which takes as long for a corpus of any size.

    Parameters
    ----------
    folder, expected
        As for `load_manifest`.
    slices
        Their numbers.

    Returns
    -------
    Manifest
        With the clips of these slices; its digest is the one that the file states. It is the whole manifest
        if an earlier version wrote that.

    Raises
    ------
    UsageError, UnavailableError
        As by `load_manifest`; what is wrong with other slices is not noticed.
    """
    path = _find_generation(folder, expected) if expected else folder.manifest
    wanted = np.array(sorted(set(slices)), np.int64)

    def has_some(lowest: int, highest: int) -> bool:
        at = int(np.searchsorted(wanted, lowest))
        return at < len(wanted) and int(wanted[at]) <= highest

    with explained(path):
        try:
            with open_blocks(path, MOST_ROWS) as file:
                _require_columns(path, file.schema)
                table, schema, rows = file.read("slice", has_some), file.schema, file.rows
        except NoBlocksError:
            return load_generation(path)
    stated = stated_in(schema)
    if not is_slice_count(count := stated.get("slices")):
        raise _not_of_a_plan(path)
    chosen = np.flatnonzero(np.isin(numbers(table["slice"]), wanted))
    table = take(table, chosen[np.argsort(numbers(table["position"])[chosen])])
    names: list[str] = table["clip_name"].to_pylist()
    manifest = _as_manifest(path, table, names, str(stated.get("manifest")), stated, rows)
    return replace(manifest, is_part=True, slices_before=count)


def _find_generation(folder: RunFolder, digest: str) -> Path:
    """The file of the generation with this digest, as it states it."""
    newest = folder.manifest
    if (found := read_stated(newest).get("manifest")) == digest:
        return newest
    for earlier in reversed(folder.manifests()):
        if earlier != newest and read_stated(earlier).get("manifest") == digest:
            return earlier
    raise UsageError(
        f"{show(str(newest))} is not the manifest of this submission: {show(str(found))}, expected {digest}",
        f"find out who wrote it; {HINT}",
    )


def _require_sample(folder: RunFolder) -> None:
    """Refuse a sample that was not taken, or of an earlier plan: rows and slices of the newest are others."""
    plan = read_stated(replace(folder, sample=0).manifest).get("manifest")
    if folder.manifest.exists():
        earlier = read_stated(folder.manifest).get("earlier")
        if earlier and earlier[-1] == plan:
            return
        what = f"its sample of {folder.sample:,} is of an earlier plan"
    else:
        what = f"no sample of {folder.sample:,} was taken of it"
    name = folder.name
    raise UsageError(
        f'the run "{name}" is planned, and {what}: {show(str(folder.manifest))}',
        f"take it: vmafarm plan --run {name} --set run.sample={folder.sample} (no clip is scored again); or "
        "leave out run.sample, for all clips",
    )


def load_generation(path: Path) -> Manifest:
    """Read one generation of the manifest of a run; see `load_manifest`."""
    with explained(path):
        file = open_sealed(path)
        _require_columns(path, file.schema)
        table, schema = file.read(), file.schema
        del file  # it holds all its bytes
    stated = stated_in(schema)
    if "position" in table.schema.names:
        table = take(table, _order(path, numbers(table["position"])))
    names: list[str] = table["clip_name"].to_pylist()
    digest = manifest_digest(names, numbers(table["mos"]), numbers(table["bytes"]), _geometry(table))
    if stated.get("manifest") != digest or not names:
        raise _not_as_stated(path)
    return _as_manifest(path, table, names, digest, stated, len(names))


def _require_columns(path: Path, schema: pa.Schema) -> None:
    if not is_manifest(schema):
        raise UsageError(
            f"{show(str(path))}: not a manifest: columns {describe_columns(schema)}; expected "
            f"{describe_columns(MANIFEST_SCHEMA)}",
            HINT,
        )


def _geometry(table: pa.Table) -> dict[str, str]:
    """That of raw clips, by name; empty if the plan has none of its own for any clip."""
    if "geometry" not in table.column_names:
        return {}
    pairs = zip(table["clip_name"].to_pylist(), table["geometry"].to_pylist(), strict=True)
    return {name: words for name, words in pairs if words}


def _order(path: Path, positions: NDArray[np.int32]) -> NDArray[np.int64]:
    """Which row has which position."""
    rows = np.full(len(positions), -1)
    if len(positions) and positions.min() >= 0 and positions.max() < len(positions):
        rows[positions] = np.arange(len(positions))
    if (rows < 0).any():
        raise _not_as_stated(path)
    return rows


def _not_as_stated(path: Path) -> UsageError:
    return UsageError(f"{show(str(path))}: its content does not match its digest", HINT)


def _as_manifest(
    path: Path, table: pa.Table, names: list[str], digest: str, stated: Mapping[str, Any], clips: int
) -> Manifest:
    """The clips in a table that is ordered by name, of a manifest of so many."""
    shown = show(str(path))
    mos, sizes, slices = (numbers(table[column]) for column in ("mos", "bytes", "slice"))
    examples = stated.get("examples")
    examples = tuple(examples) if isinstance(examples, list) and all(map(_is_text, examples)) else ()
    first = stated.get("first")
    manifest = Manifest(
        names, mos, sizes, slices, digest, **read_history(stated),
        stated_first=first if isinstance(first, str) else "", stated_examples=examples,
        geometry=_geometry(table),
    )  # fmt: skip
    for some in (table["clip_name"], make_table([examples], pa.schema({"name": pa.string()}))["name"]):
        leads_out = pc.match_substring_regex(some, _LEADS_OUT)
        if pc.any(leads_out).as_py():  # not pc.index, which imports pandas
            wrong = some[leads_out.to_pylist().index(True)].as_py()
            raise UsageError(
                f"{shown}: {show(wrong)} leads out of the clips folder, expected a path below it",
                f"find out who wrote it; {HINT}",
            )
    if names and (slices.min() < 0 or slices.max() >= manifest.slices_before + clips or sizes.min() < 0):
        raise _not_of_a_plan(path)
    return manifest


def _not_of_a_plan(path: Path) -> UsageError:
    return UsageError(f"{show(str(path))}: slices and sizes are not those of a plan", HINT)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def most_rows(folder: RunFolder) -> int:
    """Return the most rows that a shard or a clip log of a run may have.

    A writer scores each planned clip at most once. The limit is twice that number, and at least 10,000, so
    that a file with rows of clips that were never planned is still read, and the merge can name them. An
    earlier plan may have had more clips, and a sample has fewer than the files of its run.
    """
    clips = 0
    for path in (folder.manifest, *folder.manifests()):
        # Code that needs the manifest reports what is wrong with it.
        with suppress(OSError, pa.ArrowException), open_regular(path) as file:
            clips = max(clips, pq.ParquetFile(file).metadata.num_rows)
    return max(LEAST_ROWS, 2 * min(clips, MOST_ROWS))


LEAST_ROWS = 10_000
