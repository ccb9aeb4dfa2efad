"""Rows of frames: one per frame, and how whole clips of them are put into a Parquet file, and taken out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vmafarm.common.errors import show
from vmafarm.disk.arrow import numbers
from vmafarm.disk.sealed_parquet import DamagedError
from vmafarm.disk.sealed_stream import write_stream

ROWS_IN_GROUP = 1 << 16
"""At most so many rows are in one row group; it has whole clips unless one alone has more frames."""
MOST_FRAMES = 1 << 20
"""Of a clip; the configuration allows a million (extract.max_frames)."""


def frames_schema(names: Sequence[str]) -> pa.Schema:
    """Columns of a file of frames: one row per frame, one column per feature. NaN is valid, null is not."""
    return pa.schema(
        [
            pa.field("clip_name", pa.string(), nullable=False),
            pa.field("frame", pa.int32(), nullable=False),
            *(pa.field(name, pa.float64(), nullable=False) for name in names),
        ]
    )


def frames_table(
    clip_name: str, columns: Sequence[NDArray[np.float64]], frames: int, schema: pa.Schema
) -> pa.Table:
    """The rows of one clip.

    Parameters
    ----------
    clip_name
        The clip.
    columns
        One array of shape ``(frames,)`` per feature of the schema.
    frames
        Number of frames.
    schema
        As `frames_schema` makes it.
    """
    name = clip_name.encode()
    if len(name) * frames > np.iinfo(np.int32).max:
        raise OverflowError(f"more than 2 GB of names in {frames:,} rows")
    ends = np.arange(frames + 1, dtype=np.int32) * np.int32(len(name))
    text = [None, pa.py_buffer(ends), pa.py_buffer(name * frames)]
    arrays = [pa.Array.from_buffers(pa.string(), frames, text), array_of(np.arange(frames, dtype=np.int32))]
    return pa.Table.from_arrays([*arrays, *map(array_of, columns)], schema=schema)


def array_of(values: NDArray[Any]) -> pa.Array:
    """An array of int32 or float64, without nulls."""
    kind = pa.int32() if values.dtype == np.int32 else pa.float64()
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def write_frames(schema: pa.Schema, clips: Iterable[tuple[str, pa.Table]], file: BinaryIO) -> str:
    """Write clips as one sealed Parquet file, a few of them in memory at a time; returns its seal's digest.

    Each page has a checksum as well, for those who read one clip of many gigabytes.

    Parameters
    ----------
    schema
        As `frames_schema` makes it, with the metadata of the file.
    clips
        Name and rows of each clip, in the order of the file.
    file
        Open for writing, empty.
    """
    values = [field.name for field in schema if pa.types.is_floating(field.type)]
    return write_stream(
        schema, _grouped(schema, (table for _, table in clips)), file, compression="zstd",
        use_dictionary=["clip_name"], write_statistics=["clip_name", "frame"], write_page_checksum=True,
        column_encoding={"frame": "DELTA_BINARY_PACKED"} | dict.fromkeys(values, "BYTE_STREAM_SPLIT"),
    )  # fmt: skip


def _grouped(schema: pa.Schema, clips: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    rows = 0
    for clip in clips:
        if waiting and rows + clip.num_rows > ROWS_IN_GROUP:
            yield pa.concat_tables(waiting)
            waiting, rows = [], 0
        table = clip.replace_schema_metadata(schema.metadata)
        while table.num_rows > ROWS_IN_GROUP:
            yield table.slice(0, ROWS_IN_GROUP)
            table = table.slice(ROWS_IN_GROUP)
        waiting.append(table)
        rows += table.num_rows
    if waiting:
        yield pa.concat_tables(waiting)


def joined_clips(tables: Iterable[pa.Table]) -> Iterator[tuple[str, pa.Table]]:
    """Cut the row groups of a file of frames into clips, and join a clip that is in several.

    Raises
    ------
    DamagedError
        A clip lacks a frame, or there is a null or an infinite value.
    """
    parts: list[pa.Table] = []
    for table in tables:
        if any(column.null_count for column in table.columns):
            raise DamagedError("it has nulls")
        floats = (table[field.name] for field in table.schema if field.type == pa.float64())
        if any(np.isinf(numbers(column)).any() for column in floats):
            raise DamagedError("it has an infinite value")
        if not table.num_rows:
            continue
        begins = np.flatnonzero(numbers(table["frame"]) == 0).tolist()
        edges = [0, *(at for at in begins if at), table.num_rows]
        for begin, end in itertools.pairwise(edges):
            if parts and (begin or begins[:1] == [0]):
                yield _joined(parts)
                parts = []
            parts.append(table.slice(begin, end - begin))
            if sum(part.num_rows for part in parts) > MOST_FRAMES:
                raise DamagedError(f"a clip of more than {MOST_FRAMES:,} frames")
    if parts:
        yield _joined(parts)


def _joined(parts: Sequence[pa.Table]) -> tuple[str, pa.Table]:
    clip = pa.concat_tables(parts)
    names = clip["clip_name"].unique().to_pylist()
    if len(names) != 1 or not np.array_equal(numbers(clip["frame"]), np.arange(clip.num_rows)):
        raise DamagedError(f"the frames of {show(names[0])} are not from 0 on without a gap")
    return names[0], clip
