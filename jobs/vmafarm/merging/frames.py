"""The table of frames beside a table: compared with its rows, and written in their order."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vmafarm.common.steps import counting
from vmafarm.disk.arrow import numbers
from vmafarm.disk.drafts import LockedDraft
from vmafarm.disk.durable import Draft
from vmafarm.disk.regular_files import open_regular
from vmafarm.merging.complete import LISTED
from vmafarm.merging.frame_sources import FrameSources
from vmafarm.merging.result import MergeResult
from vmafarm.merging.sources import Sources
from vmafarm.published.frames_table import KEY
from vmafarm.published.up_to_date import digest_file
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import METADATA_KEY
from vmafarm.scoring.pools import pool
from vmafarm.shards.frames_columns import array_of, frames_schema, frames_table, write_frames

_Values = NDArray[np.float64]

_AT_A_TIME = 1 << 13
"""Rows that are made into a table together: one table per clip takes twice as long."""

TOLERANCE = 1e-12
"""How far a pool of the frames may be from the table's, in units of it, or of 1 where it is less: sums may be
taken in another order."""


def add_frames(
    stack: ExitStack, folder: RunFolder, scratch: Path, sources: Sources, result: MergeResult,
    connection: duckdb.DuckDBPyConnection, table: Path, *, chosen: bool,
) -> list[Draft]:  # fmt: skip
    """Write the frames of a merged table as a draft.

    Parameters
    ----------
    stack
        Removes the draft at its end, unless it was put in place.
    folder, scratch, sources
        As for `vmafarm.merging.frame_sources.FrameSources`.
    result
        Of the merge; gets what is found, and ``frames``: ``file``, ``clips``, ``rows``, ``columns``, its seal
        as ``sha256``, and ``problems``, the first values that do not fit their row: ``clip_name``, ``column``
        (``frames``: their number), ``expected`` and ``found`` (None: NaN), and the ``file`` of the row.
    connection, chosen
        As for `vmafarm.merging.frame_sources.FrameSources.gather`.
    table
        The merged table, finished.

    Returns
    -------
    list of Draft
        The draft; none where frames are not there.
    """
    frames = FrameSources(folder, scratch, sources)
    result.findings += frames.gather(connection, chosen=chosen)
    if result.blocked:
        return []
    draft = stack.enter_context(LockedDraft(folder.frames_table))
    about = {**result.metadata, KEY: {"run": folder.name, "table_sha256": digest_file(table)}}
    text = json.dumps(about, sort_keys=True, separators=(",", ":"))
    schema = frames_schema(frames.names).with_metadata({METADATA_KEY: text.encode()})
    compared = Compared(frames, table, sources.features.pools)
    seal = write_frames(schema, compared.tables(schema), cast(BinaryIO, draft))
    result.frames = {
        "file": folder.frames_table.name, "clips": frames.clips, "rows": compared.rows,
        "columns": list(frames.names), "sha256": seal, "problems": compared.problems,
    }  # fmt: skip
    return [draft]


class Compared:
    """Frames that are compared with the rows of their clips while they are read.

    Parameters
    ----------
    frames
        What was gathered.
    table
        The merged table.
    pools
        Of its feature set.

    Attributes
    ----------
    rows
        Frames so far.
    problems
        See `add_frames`.
    """

    def __init__(self, frames: FrameSources, table: Path, pools: Sequence[str]) -> None:
        self._frames, self._table, self._pools = frames, table, pools
        self.rows = 0
        self.problems: list[dict[str, Any]] = []

    def tables(self, schema: pa.Schema) -> Iterator[tuple[str, pa.Table]]:
        """The frames of a few clips at a time, in the order of the table, and the name of the first."""
        names: list[str] = []
        waiting: list[_Values] = []
        rows = 0
        for name, values in self._clips():
            if names and rows + values.shape[1] > _AT_A_TIME:
                yield names[0], _joined(names, waiting, schema)
                names, waiting, rows = [], [], 0
            names.append(name)
            waiting.append(values)
            rows += values.shape[1]
        if names:
            yield names[0], _joined(names, waiting, schema)

    def _clips(self) -> Iterator[tuple[str, _Values]]:
        rows = counting(self._read_table(), "writing frames:", "clips", self._frames.clips)
        for place, ((name, expected), values) in enumerate(zip(rows, self._frames.values(), strict=True)):
            count = values.shape[1]
            logged = self._frames.logged_frames(place)
            if logged not in (-1, count):
                self._note(place, name, "frames", logged, count)
            found = pooled(values, self._pools)
            close = np.abs(found - expected) <= TOLERANCE * np.maximum(1, np.abs(expected))
            wrong = ~(close | (np.isnan(found) & np.isnan(expected)))
            if wrong.any():
                # What was filled in is in the row, and not in the frames.
                for feature, at in np.argwhere(wrong & self._frames.measured(place)[:, None]):
                    column = f"{self._frames.names[feature]}_{self._pools[at]}"
                    self._note(place, name, column, expected[feature, at], found[feature, at])
            self.rows += count
            yield name, values

    def _read_table(self) -> Iterator[tuple[str, _Values]]:
        """Name of each row, and its pools, shape ``(features, pools)``."""
        columns = [f"{name}_{one}" for name in self._frames.names for one in self._pools]
        with open_regular(self._table, None) as file, pq.ParquetFile(file) as content:
            for number in range(content.num_row_groups):
                group = content.read_row_group(number, ["clip_name", *columns], use_threads=False)
                values = np.empty((group.num_rows, len(columns)))
                for at, name in enumerate(columns):
                    values[:, at] = numbers(group[name])
                shape = (group.num_rows, len(self._frames.names), len(self._pools))
                yield from zip(group["clip_name"].to_pylist(), values.reshape(shape), strict=True)

    def _note(self, place: int, name: str, column: str, expected: float, found: float) -> None:
        if len(self.problems) < LISTED:
            told = [None if math.isnan(value) else float(value) for value in (expected, found)]
            self.problems.append(
                {
                    "clip_name": name, "column": column, "expected": told[0], "found": told[1],
                    "file": self._frames.shard(place),
                }
            )  # fmt: skip


def _joined(names: Sequence[str], values: Sequence[_Values], schema: pa.Schema) -> pa.Table:
    """As `vmafarm.shards.frames_columns.frames_table`, of several clips."""
    if len(names) == 1:
        return frames_table(names[0], list(values[0]), values[0].shape[1], schema)
    counts = [one.shape[1] for one in values]
    texts = [name.encode() for name in names]
    ends = np.cumsum(np.repeat([len(text) for text in texts], counts), dtype=np.int32)
    text = b"".join(text * count for text, count in zip(texts, counts, strict=True))
    buffers = [None, pa.py_buffer(np.append(np.int32(0), ends)), pa.py_buffer(text)]
    frames = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])
    arrays = [array_of(frames), *map(array_of, np.concatenate(values, axis=1))]
    return pa.Table.from_arrays(
        [pa.Array.from_buffers(pa.string(), len(frames), buffers), *arrays], schema=schema
    )


def pooled(values: _Values, pools: Sequence[str]) -> _Values:
    """Pool the frames of all features of a clip as `vmafarm.scoring.pools.pool` does.

    Parameters
    ----------
    values
        Shape ``(features, frames)``.
    pools
        Names of the pools.

    Returns
    -------
    NDArray
        Shape ``(features, pools)``.
    """
    found = np.full((len(values), len(pools)), np.nan)
    finite = np.isfinite(values)
    some, whole = finite.any(axis=1), finite.all(axis=1)
    if _AT_ONCE.keys() >= set(pools):  # one feature after the other takes ten times as long
        for at, name in enumerate(pools):
            found[whole, at] = _AT_ONCE[name](values[whole], axis=1)
        some &= ~whole
    for feature in np.flatnonzero(some):
        found[feature] = list(pool(values[feature], pools).values())
    return found


_AT_ONCE: Mapping[str, Any] = {"mean": np.mean, "std": np.std, "min": np.min, "max": np.max}
