"""The file of a manifest: its columns, its metadata, and how it is opened whole or in parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.disk.jsonl import parse_json
from vmafarm.disk.readable import denied
from vmafarm.disk.sealed_blocks import NoBlocksError, open_blocks
from vmafarm.disk.sealed_parquet import MOST_ROWS, DamagedError, open_sealed
from vmafarm.run_folder.provenance import METADATA_KEY

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("clip_name", pa.string(), nullable=False),
        pa.field("mos", pa.float64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("slice", pa.int32(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),
    ]
)
"""Schema of manifest.parquet: one row per clip, ordered by slice, so that an element reads its own alone.
``position`` is the place of the clip in the byte order of all names."""
BY_NAME = pa.schema(
    [field for field in MANIFEST_SCHEMA if field.name != "position"], MANIFEST_SCHEMA.metadata
)
"""As earlier versions wrote it: rows in byte order of clip_name."""
GEOMETRY = pa.field("geometry", pa.string(), nullable=False)
"""In a run with raw clips whose geometry the label file says; "" for every other clip."""
HINT = "restore it from a copy, or plan again under another run.name"
_BLOCKS = 1000
_BLOCK_ROWS = 1024
"""At most so many row groups, and at least so many rows in each but the last."""


def cuts(slices: NDArray[np.int32]) -> list[int]:
    """Where to cut ascending slice numbers into blocks of whole slices."""
    least = max(_BLOCK_ROWS, -(-len(slices) // _BLOCKS))
    found, begin = [], 0
    for edge in (np.flatnonzero(np.diff(slices)) + 1).tolist():
        if edge - begin >= least:
            found.append(edge)
            begin = edge
    return found


HISTORY = ("generation", "earlier", "slices_before", "of")


def read_history(stated: Mapping[str, Any]) -> dict[str, Any]:
    """What a later generation states of those before, as `Manifest` takes it; empty for the first."""
    found = {name: stated.get(name, 0) for name in HISTORY}
    earlier = found.pop("earlier")
    numbers = [found[name] for name in ("generation", "slices_before", "of")]
    is_sound = isinstance(earlier, list) and all(type(one) is int for one in numbers)
    if not is_sound or found["generation"] != len(earlier) + 1 or not is_slice_count(found["slices_before"]):
        return {}
    return found | {"earlier": tuple(map(str, earlier))}


def is_slice_count(value: object) -> TypeGuard[int]:
    """Whether a value that a manifest states can be a number of slices."""
    return type(value) is int and 0 <= value <= _MOST_SLICES


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
    with explained(path):
        return _read_stated(path)


def _read_stated(path: Path) -> dict[str, Any]:
    try:
        with open_blocks(path, MOST_ROWS) as file:
            return stated_in(file.schema)
    except NoBlocksError:  # of an earlier version, or no manifest
        return stated_in(open_sealed(path).schema)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say of any error in reading a manifest what it means, and what to do.

    Raises
    ------
    UsageError
        There is no manifest, or it is damaged.
    UnavailableError
        It cannot be read.
    """
    shown = show(str(path))
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f'{shown}: not there: the run "{show(path.parent.name)}" is not planned',
            "plan it first: vmafarm plan (or make plan); or choose the run with run.name and run.root",
        ) from None
    except DamagedError as error:
        raise UsageError(f"{shown}: not a manifest, or cut: {show(str(error))}", HINT) from None
    except PermissionError:
        raise denied(path) from None
    except OSError as error:
        raise UnavailableError(f"cannot read {shown}: {error.strerror or show(str(error))}", HINT) from None


def is_manifest(schema: pa.Schema) -> bool:
    """Whether these are the columns of a manifest, of this version or an earlier one."""
    known = (MANIFEST_SCHEMA, BY_NAME)
    return any(schema.equals(one) or schema.equals(one.append(GEOMETRY)) for one in known)


def describe_columns(schema: pa.Schema) -> str:
    """Names and types, for messages."""
    return ", ".join(
        f"{show(field.name)} {field.type}{'' if field.nullable else ' not null'}" for field in schema
    )


def stated_in(schema: pa.Schema) -> dict[str, Any]:
    """The metadata of a generation of the manifest; see `read_stated`."""
    try:
        document = parse_json((schema.metadata or {})[METADATA_KEY])
    except (KeyError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
