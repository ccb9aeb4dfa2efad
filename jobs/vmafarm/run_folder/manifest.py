"""The manifest: the clips of a run. A later plan adds a generation in a file of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.disk import durable
from vmafarm.disk.arrow import make_table, numbers
from vmafarm.disk.jsonl import parse_json
from vmafarm.disk.readable import denied
from vmafarm.disk.regular_files import open_regular
from vmafarm.disk.sealed_parquet import MOST_ROWS, DamagedError, SealedFile, open_sealed, write_sealed
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.planned_clips import Manifest, manifest_digest
from vmafarm.run_folder.provenance import METADATA_KEY

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("clip_name", pa.string(), nullable=False),
        pa.field("mos", pa.float64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("slice", pa.int32(), nullable=False),
    ]
)
"""Schema of manifest.parquet; rows in byte order of clip_name."""
_LEADS_OUT = r"^/|(^|/)\.\.(/|$)"
"""Matches absolute paths and those that leave the clips folder (RE2)."""
_HINT = "restore it from a copy, or plan again under another run.name"


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
        document |= {name: getattr(manifest, name) for name in _HISTORY}
    table = make_table(
        [manifest.names, manifest.mos, manifest.bytes, manifest.slices],
        MANIFEST_SCHEMA.with_metadata({METADATA_KEY: json.dumps(document)}),
    )
    with durable.Draft(folder.manifest if manifest.of else folder.generation(manifest.generation)) as draft:
        write_sealed(table, cast(BinaryIO, draft))
        if manifest.of:  # follows from the plan, and a later plan may have another
            draft.publish()
        else:
            draft.publish_first()


_HISTORY = ("generation", "earlier", "slices_before", "of")


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
    path = folder.manifest
    if folder.sample and not expected:
        _require_sample(folder)
    newest = load_generation(path)
    if expected in ("", newest.digest):
        return newest
    for earlier in reversed(folder.manifests()):
        if earlier != path and read_stated(earlier).get("manifest") == expected:
            return load_generation(earlier)
    raise UsageError(
        f"{show(str(path))} is not the manifest of this submission: {newest.digest}, expected {expected}",
        f"find out who wrote it; {_HINT}",
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
    with _opened(path) as file:
        is_one = file.schema.equals(MANIFEST_SCHEMA)
        table = file.read() if is_one else MANIFEST_SCHEMA.empty_table()
    shown = show(str(path))
    if not is_one:
        found = ", ".join(f"{show(name)} {kind}" for name, kind in _columns(file.schema))
        expected = ", ".join(f"{name} {kind}" for name, kind in _columns(MANIFEST_SCHEMA))
        raise UsageError(f"{shown}: not a manifest: columns {found}; expected {expected}", _HINT)
    names: list[str] = table["clip_name"].to_pylist()
    mos, sizes, slices = (numbers(table[column]) for column in ("mos", "bytes", "slice"))
    digest, stated = manifest_digest(names, mos, sizes), stated_in(file.schema)
    if stated.get("manifest") != digest or not names:
        raise UsageError(f"{shown}: its content does not match its digest", _HINT)
    leads_out = pc.match_substring_regex(table["clip_name"], _LEADS_OUT)
    if found := pc.indices_nonzero(leads_out).tolist():  # pc.index would import pandas
        raise UsageError(
            f"{shown}: {show(names[found[0]])} leads out of the clips folder, expected a path below it",
            f"find out who wrote it; {_HINT}",
        )
    manifest = Manifest(names, mos, sizes, slices, digest, **_read_history(stated))
    if slices.min() < 0 or slices.max() >= manifest.slices_before + len(names) or sizes.min() < 0:
        raise UsageError(f"{shown}: slices and sizes are not those of a plan", _HINT)
    return manifest


def _read_history(stated: Mapping[str, Any]) -> dict[str, Any]:
    """What a later generation states of those before; empty for the first."""
    found = {name: stated.get(name, 0) for name in _HISTORY}
    earlier = found.pop("earlier")
    numbers = [found[name] for name in ("generation", "slices_before", "of")]
    is_sound = isinstance(earlier, list) and all(type(one) is int for one in numbers)
    if (
        not is_sound
        or found["generation"] != len(earlier) + 1
        or not 0 <= found["slices_before"] <= _MOST_SLICES
    ):
        return {}
    return found | {"earlier": tuple(map(str, earlier))}


_MOST_SLICES = 10_000_000


def read_stated(path: Path) -> dict[str, Any]:
    """Read the metadata of a generation of the manifest.

    Returns
    -------
    dict
        ``manifest``: its digest; ``configuration``: what the plan froze, which earlier versions did not
        write. Empty if the file has no such metadata.

    Raises
    ------
    UsageError
        There is no manifest, or it is damaged.
    UnavailableError
        It cannot be read.
    """
    with _opened(path) as file:
        return stated_in(file.schema)


@contextmanager
def _opened(path: Path) -> Iterator[SealedFile]:
    shown = show(str(path))
    try:
        yield open_sealed(path)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f'{shown}: not there: the run "{show(path.parent.name)}" is not planned',
            "plan it first: vmafarm plan (or make plan); or choose the run with run.name and run.root",
        ) from None
    except DamagedError as error:
        raise UsageError(f"{shown}: not a manifest, or cut: {show(str(error))}", _HINT) from None
    except PermissionError:
        raise denied(path) from None
    except OSError as error:
        raise UnavailableError(f"cannot read {shown}: {error.strerror or show(str(error))}", _HINT) from None


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


def _columns(schema: pa.Schema) -> list[tuple[str, str]]:
    return [(field.name, f"{field.type}{'' if field.nullable else ' not null'}") for field in schema]


def stated_in(schema: pa.Schema) -> dict[str, Any]:
    """The metadata of a generation of the manifest; see `read_stated`."""
    try:
        document = parse_json((schema.metadata or {})[METADATA_KEY])
    except (KeyError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
