"""Clip logs: how each clip was scored, beside its row. They are read here, whichever version wrote them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from vmafarm.common.errors import reason
from vmafarm.disk.arrow import make_table, numbers
from vmafarm.disk.jsonl import EARLIEST, LATEST, MOST_SECONDS
from vmafarm.disk.regular_files import list_files
from vmafarm.disk.sealed_parquet import DamagedError, open_sealed, write_sealed
from vmafarm.run_folder.paths import RunFolder

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
        pa.field("audit_feature", pa.string(), nullable=False),
        pa.field("audit_difference", pa.float64(), nullable=False),
        pa.field("declared_frames", pa.int32(), nullable=False),
        pa.field("declared_seconds", pa.float64(), nullable=False),
        pa.field("short", pa.bool_(), nullable=False),
        pa.field("repeatable", pa.bool_(), nullable=False),
        pa.field("backend", pa.string(), nullable=False),
        pa.field("finite_frames", pa.int32(), nullable=False),
        pa.field("zero_motion", pa.int32(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("notes", pa.string(), nullable=False),
        pa.field("host", pa.string(), nullable=False),
        pa.field("engine", pa.string(), nullable=False),
        pa.field("writer", pa.string(), nullable=False),
        pa.field("slice", pa.int32(), nullable=False),
        pa.field("finished_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
    ]
)
"""``audit`` is one of `vmafarm.scoring.audit.OUTCOMES`; without an audit ``seconds_other_plan`` is NaN.
``audit_feature`` is the feature that is farthest apart on a GPU and the CPU, ``audit_difference`` its largest
absolute difference; "" and NaN where these were not compared, NaN also where only one of both has a value.
``declared_frames`` and ``declared_seconds`` are what the clip says of its own length, 0 and NaN where it says
nothing; ``short``: it says more than came out. ``repeatable`` is false where the decoder concealed damage, so
that another decode may give other values. ``backend`` is where the clip was scored, ``cpu`` or ``cuda``, ""
where its writer did not say. ``finite_frames`` counts the frames with a finite value of the measured feature
that has the fewest of them, ``zero_motion`` the frames after the first with a motion of exactly 0; -1 in both
where its writer did not count. ``bytes`` and ``sha256`` (hexadecimal) are of the file that was scored; 0 and
"" where its writer did not know them."""

DEFAULTS: Mapping[str, Any] = {
    "audit": "",
    "seconds_other_plan": math.nan,
    "audit_feature": "",
    "audit_difference": math.nan,
    "declared_frames": 0,
    "declared_seconds": math.nan,
    "short": False,
    "repeatable": True,
    "backend": "",
    "finite_frames": -1,
    "zero_motion": -1,
    "bytes": 0,
    "sha256": "",
}
"""Of columns that earlier versions did not write."""

MAY_BE_UNKNOWN = ("finite_frames", "zero_motion")
"""Counts that may be -1: 0 is an answer."""


def write_clip_log(entries: pa.Table, file: BinaryIO) -> None:
    """Write entries as a clip log into an empty open file.

    Without dictionaries: zstd finds what repeats in the hundred rows of a slice as well, and whoever reads
    all clip logs of a run has a quarter less to do.
    """
    write_sealed(entries, file, use_dictionary=False)


def read_clip_log(path: Path, most_rows: int, columns: Collection[str] = CLIP_LOG_SCHEMA.names) -> pa.Table:
    """Read columns of a clip log; those that its writer did not know have their defaults.

    Parameters
    ----------
    path
        The file.
    most_rows
        Rows that it may have; see `vmafarm.run_folder.manifest.most_rows`.
    columns
        Of `CLIP_LOG_SCHEMA`, in its order.

    Raises
    ------
    OSError
        It cannot be read.
    DamagedError
        It is not as its writer left it, a column is not there or of another type, or a value is none that
        a clip has.
    """
    schema = pa.schema([CLIP_LOG_SCHEMA.field(name) for name in columns])
    file = open_sealed(path, most_rows)
    known = file.schema.names
    for field in schema:
        lacking = field.name not in known and field.name in DEFAULTS
        if not lacking and (known.count(field.name) != 1 or file.schema.field(field.name).type != field.type):
            raise DamagedError(f"no column {field.name} of type {field.type}")
    found = file.read([name for name in schema.names if name in known])
    arrays = []
    for field in schema:
        if field.name not in known:
            fill = make_table([[DEFAULTS[field.name]] * found.num_rows], pa.schema([field]))
            arrays.append(fill[field.name])
        else:
            _require_possible(field, found[field.name])
            arrays.append(found[field.name])
    return pa.Table.from_arrays(arrays, schema=schema)


def _require_possible(field: pa.Field, column: pa.ChunkedArray) -> None:
    """Raise DamagedError where a column has a value that a journal could not have either."""
    if column.null_count:
        raise DamagedError(f"{field.name} has nulls")
    if pa.types.is_string(field.type) or pa.types.is_boolean(field.type) or not len(column):
        return
    values = numbers(column.cast(pa.int64()) if pa.types.is_timestamp(field.type) else column)
    lowest, highest = bounds(field)
    if np.isinf(values).any() or not (np.isnan(values) | ((values >= lowest) & (values <= highest))).all():
        raise DamagedError(f"{field.name} is not from {lowest:g} to {highest:g} in all rows")


def bounds(field: pa.Field) -> tuple[float, float]:
    """Lowest and highest value of a column of numbers or times: what `vmafarm.shards.journal` allows.

    Times are in microseconds since 1970; a float may also be NaN, but not infinite.
    """
    if pa.types.is_timestamp(field.type):  # microseconds
        return EARLIEST.timestamp() * 1e6, LATEST.timestamp() * 1e6
    if pa.types.is_integer(field.type):
        return -(field.name in MAY_BE_UNKNOWN), np.iinfo(field.type.to_pandas_dtype()).max
    return (0, MOST_SECONDS if field.name.startswith("seconds") else math.inf)


def list_clip_logs(folder: RunFolder) -> tuple[list[Path], dict[Path, str]]:
    """The clip logs of a run, in order; and the folders that cannot be read, with the reason."""
    found: list[Path] = []
    unreadable: dict[Path, str] = {}
    try:
        entries = list_files(folder.clip_logs, "")
    except OSError as error:
        return [], {folder.clip_logs: reason(error)}
    for path in entries:
        if path.suffix == ".parquet":
            found.append(path)
            continue
        try:  # a folder per slice, as earlier versions had it
            found += list_files(path, ".parquet")
        except NotADirectoryError:
            continue
        except OSError as error:
            unreadable[path] = reason(error)
    return found, unreadable


def clip_log_of(folder: RunFolder, shard: Path) -> Path:
    """Return the clip log that belongs to a shard or journal, also where an earlier version wrote it."""
    earlier = folder.clip_logs / shard.parent.name / shard.with_suffix(".parquet").name
    log = folder.clip_logs / f"{shard.parent.name}.{earlier.name}"
    return earlier if not log.exists() and earlier.exists() else log


def shard_of(folder: RunFolder, clip_log: Path) -> Path:
    """Return the shard that belongs to a clip log."""
    if clip_log.parent != folder.clip_logs:
        return folder.shards / clip_log.parent.name / clip_log.name
    slice_name, _, file = clip_log.name.partition(".")
    return folder.shards / slice_name / file
