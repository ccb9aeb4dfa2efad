"""Splits a table for training: each clip is on one side, and clips of one group are on the same side."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vmafarm.common.errors import UsageError, show
from vmafarm.common.steps import working
from vmafarm.config.sections import Config
from vmafarm.disk.durable import Draft
from vmafarm.disk.sealed_parquet import SEAL_KEY
from vmafarm.merging.table import ROW_GROUP, cut
from vmafarm.query.text import require_place
from vmafarm.run_folder.paths import RunFolder, run_of_table
from vmafarm.run_folder.provenance import METADATA_KEY
from vmafarm.tables.given import NAME, GivenTable, is_number, open_given, reading
from vmafarm.tables.groups import Source, find_groups
from vmafarm.tables.sides import SIDES, choose_sides, require_shares

COLUMN = "split"
_FIELD = pa.field(COLUMN, pa.string(), nullable=False)


@dataclass(frozen=True)
class Part:
    """One side of a split.

    Attributes
    ----------
    side
        ``train``, ``val`` or ``test``.
    asked
        Share of the clips that was asked for, 0..1.
    clips, groups
        How many it has.
    mos
        Scores of its clips, float64, without NaN and what no corpus has; empty without such a column.
    """

    side: str
    asked: float
    clips: int
    groups: int
    mos: NDArray[np.float64]

    def mos_figures(self) -> tuple[float, float, float, float]:
        """Mean, population standard deviation (ddof = 0), lowest and highest score; NaN without any."""
        if not self.mos.size:
            return math.nan, math.nan, math.nan, math.nan
        # Exact sums: in another order the rows have the same figures.
        mean = math.fsum(self.mos) / self.mos.size
        variance = math.fsum((self.mos - mean) ** 2) / self.mos.size
        return mean, math.sqrt(variance), float(self.mos.min()), float(self.mos.max())


@dataclass(frozen=True)
class Split:
    """A table that was split.

    Attributes
    ----------
    table, path
        The table, and the file that was written.
    source
        Where groups came from.
    groups
        Number of groups.
    largest, largest_clips
        Key and size of the largest one.
    parts
        The sides.
    notes
        What is odd about the table.
    """

    table: Path
    path: Path
    source: Source
    groups: int
    largest: str
    largest_clips: int
    parts: tuple[Part, ...]
    notes: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Clips of each side."""
        return {part.side: part.clips for part in self.parts}


@working("splitting the table")
def split_table(
    path: Path, source: Source, shares: Sequence[float], seed: int, output: Path | None, config: Config
) -> Split:
    """Write a copy of a table with the column ``split`` as the last one.

    Parameters
    ----------
    path
        The table; a column ``split`` that it has is replaced.
    source
        Where groups come from.
    shares
        Of `SIDES`, 1 together.
    seed
        Another one gives another split.
    output
        File to write, which may be the table itself; None: ``<stem>.split.parquet`` beside it.
    config
        See `vmafarm.tables.groups.find_groups`.

    Raises
    ------
    UsageError
        It is no table, has a clip twice or no clip, a clip has no group, groups do not fit the shares, or
        the output cannot be there.
    UnavailableError
        Too little memory or disk space.
    """
    require_shares(shares)
    output = path.with_name(f"{path.stem}.split.parquet") if output is None else output
    if output.suffix != ".parquet":
        raise UsageError(f"--output {show(str(output))}: expected a file that ends in .parquet", "rename it")
    with open_given(path) as table:
        require_place(output)
        _require_no_table(output, path)
        with reading(table):
            names = _read_names(table)
            mos = _read_mos(table)
        keys = find_groups(source, table, names, config)
        sizes = Counter(keys)
        side_of = choose_sides(sizes, shares, seed)
        sides = np.fromiter(map(side_of.__getitem__, keys), np.int8, len(keys))
        groups = Counter(side_of.values())
        parts = tuple(
            Part(side, shares[at], int((sides == at).sum()), groups[at], _scores(mos[sides == at]))
            for at, side in enumerate(SIDES)
        )
        largest = min(sizes, key=lambda key: (-sizes[key], key))
        found = Split(path, output, source, len(sizes), largest, sizes[largest], parts, table.notes)
        record = source.as_dict() | {
            "seed": seed, "shares": dict(zip(SIDES, map(float, shares), strict=True)),
            "counts": found.counts, "groups": found.groups,
        }  # fmt: skip
        with Draft(output) as draft:
            with reading(table):
                _write(table, sides, record, cast(BinaryIO, draft))
            draft.publish()
    return found


def _require_no_table(output: Path, path: Path) -> None:
    """Refuse the place where another run publishes its table; raises UsageError."""
    name = run_of_table(output.name)
    if name and output.name != path.name and RunFolder(output.parent, name).manifest.exists():
        raise UsageError(
            f"{show(str(output))} is where the run {show(name)} publishes its table",
            "choose another --output",
        )


def _read_names(table: GivenTable) -> list[str]:
    names: list[str] = _read(table, NAME).to_pylist()
    counts = Counter(names)
    without = counts.pop(None, 0)  # type: ignore[call-overload]
    repeated = sorted(name for name, copies in counts.items() if copies > 1)[:5]
    if not names:
        raise UsageError(f"{show(str(table.path))}: no clip in it, so there is nothing to split")
    table.require_names(len(names) - without, len(counts), repeated)
    return names


def _read_mos(table: GivenTable) -> NDArray[np.float64]:
    if "mos" not in table.schema.names or not is_number(table.schema.field("mos").type):
        return np.full(table.rows, np.nan)
    return cast("NDArray[np.float64]", _read(table, "mos").cast(pa.float64()).to_numpy())


def _read(table: GivenTable, column: str) -> pa.ChunkedArray:
    content = table.file
    with pq.ParquetFile(content, pre_buffer=False) as file:
        return file.read([column], use_threads=False)[column]


def _scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[np.abs(values) <= 1e9]  # the most that corpus.mos_min and mos_max allow; never true of NaN


def _write(table: GivenTable, sides: NDArray[np.int8], record: dict[str, Any], draft: BinaryIO) -> None:
    """Write all rows in their order, with the column; the same bytes for the same rows."""
    kept = [field for field in table.schema if field.name != COLUMN]
    schema = pa.schema([*kept, _FIELD])
    # No statistics on floats: their minimum and maximum ignore NaN (vmafarm.disk.sealed_parquet).
    counted = [field.name for field in schema if _has_order(field.type)]
    text = json.dumps(table.metadata | {COLUMN: record}, sort_keys=True, separators=(",", ":"))
    keys = {key: value for key, value in table.keys.items() if key not in (SEAL_KEY, b"ARROW:schema")}
    content = table.file
    with (
        pq.ParquetFile(content, pre_buffer=False) as file,
        pq.ParquetWriter(
            draft, schema, compression="zstd", compression_level=3, use_dictionary=[COLUMN],
            write_statistics=counted,
        ) as writer,
    ):  # fmt: skip
        at = 0
        for rows in cut(_batches(file), ROW_GROUP):
            here = sides[at : at + rows.num_rows]
            column = pa.array([SIDES[side] for side in here], pa.string())
            columns = [rows[field.name] for field in kept]
            writer.write_table(pa.Table.from_arrays([*columns, column], schema=schema), ROW_GROUP)
            at += rows.num_rows
        writer.add_key_value_metadata(keys | {METADATA_KEY: text.encode()})


def _batches(file: pq.ParquetFile) -> Iterable[pa.RecordBatch]:
    return cast("Iterable[pa.RecordBatch]", file.iter_batches(ROW_GROUP, use_threads=False))


def _has_order(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_string(kind))
