"""Clip logs: how each clip was scored, beside its row. They are read here, whichever version wrote them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.arrow import make_table
from jobs.sealed import DamagedError, open_sealed

CLIP_LOG_SCHEMA = pa.schema(
    [
        pa.field("clip_name", pa.string(), nullable=False),
        pa.field("frames", pa.int32(), nullable=False),
        pa.field("fps", pa.float64(), nullable=False),
        pa.field("pixel_format", pa.string(), nullable=False),
        pa.field("bit_depth", pa.int32(), nullable=False),
        pa.field("seconds_decoding", pa.float64(), nullable=False),
        pa.field("seconds_scoring", pa.float64(), nullable=False),
        pa.field("audit", pa.string(), nullable=False),
        pa.field("seconds_other_plan", pa.float64(), nullable=False),
        pa.field("declared_frames", pa.int32(), nullable=False),
        pa.field("declared_seconds", pa.float64(), nullable=False),
        pa.field("short", pa.bool_(), nullable=False),
        pa.field("repeatable", pa.bool_(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("notes", pa.string(), nullable=False),
        pa.field("host", pa.string(), nullable=False),
        pa.field("engine", pa.string(), nullable=False),
        pa.field("writer", pa.string(), nullable=False),
        pa.field("slice", pa.int32(), nullable=False),
        pa.field("finished_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
"""``audit`` is one of `jobs.audit.OUTCOMES`; where a clip was not audited, ``seconds_other_plan`` is NaN.
``declared_frames`` and ``declared_seconds`` are what the clip says of its own length, 0 and NaN where it says
nothing; ``short``: it says more than came out. ``repeatable`` is false where the decoder concealed damage, so
that another decode may give other values."""

_DEFAULTS: Mapping[str, Any] = {
    "audit": "",
    "seconds_other_plan": math.nan,
    "declared_frames": 0,
    "declared_seconds": math.nan,
    "short": False,
    "repeatable": True,
}
"""Of columns that earlier versions did not write."""


def read_clip_log(path: Path, columns: Collection[str] = CLIP_LOG_SCHEMA.names) -> pa.Table:
    """Read columns of a clip log; those that its writer did not know have their defaults.

    Parameters
    ----------
    path
        The file.
    columns
        Of `CLIP_LOG_SCHEMA`, in its order.

    Raises
    ------
    OSError
        It cannot be read.
    DamagedError
        It is not as its writer left it, or a column is not there or of another type.
    """
    schema = pa.schema([CLIP_LOG_SCHEMA.field(name) for name in columns])
    with open_sealed(path) as file:
        known = file.schema_arrow.names
        found = file.read(columns=[name for name in schema.names if name in known], use_threads=False)
    arrays = []
    for field in schema:
        if field.name not in known and field.name in _DEFAULTS:
            fill = make_table([[_DEFAULTS[field.name]] * found.num_rows], pa.schema([field]))
            arrays.append(fill[field.name])
        elif known.count(field.name) != 1 or found[field.name].type != field.type:
            raise DamagedError(f"no column {field.name} of type {field.type}")
        else:
            arrays.append(found[field.name])
    return pa.Table.from_arrays(arrays, schema=schema)


def entry_from_json(record: Mapping[str, Any]) -> dict[str, Any]:
    """A journal's clip log entry as it was appended: null is NaN again."""
    entry = {**_DEFAULTS, **record}
    for name in ("seconds_other_plan", "declared_seconds"):
        if entry[name] is None:
            entry[name] = math.nan
    return {**entry, "finished_at": datetime.fromisoformat(record["finished_at"]).astimezone(UTC)}
