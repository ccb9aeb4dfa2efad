"""Writes the final table: sorted rows, the exact schema, the same bytes for the same rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import pairwise, starmap
from operator import lt
from typing import Any, BinaryIO, Self

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vmafarm.common.steps import step
from vmafarm.disk.arrow import numbers
from vmafarm.run_folder.provenance import METADATA_KEY
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.features import FULL
from vmafarm.sql import templates as sql

ROW_GROUP = 16_384
"""Rows in a row group: fixed, since it decides the bytes."""


@dataclass(frozen=True)
class Written:
    """Result of writing rows.

    Attributes
    ----------
    rows
        Number of rows read.
    unique
        Whether each clip has exactly one row.
    whole
        Whether all rows were written; writing stops at the first batch with a null.
    nan
        Column to the number of rows that are NaN in it, of those that were written.
    """

    rows: int
    unique: bool
    whole: bool
    nan: Mapping[str, int]


class TableWriter:
    """Writes rows in order, and ends the file once its metadata is known.

    DuckDB sorts and pyarrow writes: so columns are not nullable (with DuckDB's COPY all would be), and
    floats have no statistics (from which DuckDB would conclude that there is no NaN).

    Parameters
    ----------
    file
        Where to write.
    features
        The run's feature set.
    """

    def __init__(self, file: BinaryIO, features: FeatureSet = FULL) -> None:
        self._features = features
        self._writer = open_writer(file, features.arrow_schema, ["clip_name"])

    def write(
        self,
        connection: duckdb.DuckDBPyConnection,
        shards: sql.Sql,
        bound: Mapping[str, Any],
        *,
        chosen: bool = False,
    ) -> Written:
        """Write the rows of all shards, sorted, and note their names in the table ``found``.

        Parameters
        ----------
        connection
            Holds the table ``chosen``, if that is to be used.
        shards, bound
            Where the rows are, and the values bound in it.
        chosen
            Take the row in ``chosen`` for clips that have one there.
        """
        query = sql.render("merge/rows", columns=self._features.columns, shards=shards, chosen=chosen)
        reader = connection.sql(query, params=dict(bound)).to_arrow_reader(ROW_GROUP)
        floats = ("mos", *self._features.feature_columns)
        rows, unique, whole, nan = 0, True, True, dict.fromkeys(floats, 0)
        last: str | None = None
        step("writing the table:", "rows", lambda: rows)
        # Rows stream on that connection, so that it can run nothing else meanwhile.
        with connection.cursor() as notes:
            notes.execute("CREATE OR REPLACE TABLE found (clip_name VARCHAR)")
            for table in ahead(cut(reader, ROW_GROUP)):
                notes.register("batch", table.select(["clip_name"]))
                notes.execute("INSERT INTO found FROM batch")
                rows += table.num_rows
                whole = whole and not any(column.null_count for column in table.columns)
                if whole:
                    increasing, last = is_increasing(last, table["clip_name"].combine_chunks())
                    unique = unique and increasing
                    schema = self._features.arrow_schema  # not nullable
                    table = pa.Table.from_arrays(table.columns, schema=schema)
                    self._writer.write_table(table, row_group_size=ROW_GROUP)
                    for name in floats:
                        nan[name] += int(np.isnan(numbers(table[name])).sum())
        return Written(rows, unique, whole, nan)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close pyarrow's writer, whose end nobody reads if `end` was not called."""
        with suppress(OSError, pa.ArrowException) if kind else nullcontext():
            self._writer.close()

    def end(self, metadata: Mapping[str, Any]) -> None:
        """End the file.

        Parameters
        ----------
        metadata
            The document for the Parquet metadata; no time, no path.
        """
        text = json.dumps(metadata, sort_keys=True, separators=(",", ":"))
        self._writer.add_key_value_metadata({METADATA_KEY: text.encode()})
        self._writer.close()


def open_writer(file: BinaryIO, schema: pa.Schema, statistics: Sequence[str]) -> pq.ParquetWriter:
    """Open a file of rows; only these columns get statistics, and none of floats may."""
    # Without dictionaries: nearly every score is different, and constants compress well anyway.
    return pq.ParquetWriter(
        file, schema, compression="zstd", compression_level=3, use_dictionary=False,
        write_statistics=list(statistics),
    )  # fmt: skip


def cut(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Cut batches of any length into tables of `size` rows, the last one shorter."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        while rows + batch.num_rows >= size:
            take = size - rows
            yield pa.Table.from_batches([*waiting, batch.slice(0, take)]).combine_chunks()
            waiting, rows, batch = [], 0, batch.slice(take)
        if batch.num_rows:
            waiting.append(batch)
            rows += batch.num_rows
    if rows:
        yield pa.Table.from_batches(waiting).combine_chunks()


def ahead(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Have the next table made in a thread of its own while this one is written."""
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(next, tables, None)
        while (table := made.result()) is not None:
            made = pool.submit(next, tables, None)
            yield table


def is_increasing(last: str | None, names: pa.Array) -> tuple[bool, str]:
    """Whether names go up in byte order, none twice, from the one before them; and the last of them."""
    # Text of Python is in the order of its UTF-8; pyarrow.compute takes longer to import than this takes.
    texts: list[str] = names.to_pylist()
    return all(starmap(lt, pairwise(texts if last is None else [last, *texts]))), texts[-1]
