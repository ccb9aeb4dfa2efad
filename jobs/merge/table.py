"""Writes the final table: rows in order, the schema exactly, the same bytes for the same rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, starmap
from operator import lt
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from jobs import sql
from jobs.provenance import METADATA_KEY
from jobs.schema import ARROW_SCHEMA, COLUMNS

ROW_GROUP = 16_384
"""Rows in a row group: fixed, since it decides the bytes."""


class NullFoundError(Exception):
    """A row holds a null: there is no table of it."""


class RepeatedError(Exception):
    """A clip stands twice in the sorted rows, although no duplicate was found before."""


def write_table(
    connection: duckdb.DuckDBPyConnection,
    file: BinaryIO,
    shards: sql.Sql,
    bound: Mapping[str, Any],
    *,
    repeated: bool,
    metadata: dict[str, Any],
) -> int:
    """Write the rows of all shards, sorted, one a clip.

    pyarrow writes what DuckDB sorts: its columns are then not nullable (DuckDB's COPY makes all of
    them so), and without statistics on floats, in which DuckDB would take NaN for impossible.

    Parameters
    ----------
    connection
        Holds the table ``chosen`` where clips have several rows.
    file
        Where to write it.
    shards, bound
        Where the rows are, and the values bound in it.
    repeated
        Whether clips have several rows.
    metadata
        The document for the Parquet metadata; no time, no path.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    NullFoundError
        A row holds a null.
    RepeatedError
        Two rows have the same name.
    """
    query = sql.render("merge/rows", columns=COLUMNS, shards=shards, repeated=repeated)
    reader = connection.sql(query, params=dict(bound)).to_arrow_reader(ROW_GROUP)
    rows = 0
    last: str | None = None
    # Without dictionaries: nearly every score is different, and constants compress well anyway.
    with pq.ParquetWriter(
        file, ARROW_SCHEMA, compression="zstd", compression_level=3, use_dictionary=False,
        write_statistics=["clip_name"],
    ) as writer:  # fmt: skip
        writer.add_key_value_metadata(
            {METADATA_KEY: json.dumps(metadata, sort_keys=True, separators=(",", ":")).encode()}
        )
        for table in ahead(cut(reader, ROW_GROUP)):
            if any(column.null_count for column in table.columns):
                raise NullFoundError
            last = require_increasing(last, table["clip_name"].combine_chunks())
            table = pa.Table.from_arrays(table.columns, schema=ARROW_SCHEMA)  # not nullable
            writer.write_table(table, row_group_size=ROW_GROUP)
            rows += table.num_rows
    return rows


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


def require_increasing(last: str | None, names: pa.Array) -> str:
    """Make sure that names go up in byte order, none twice; returns the last one.

    Raises
    ------
    RepeatedError
        They do not.
    """
    # Text of Python is in the order of its UTF-8; pyarrow.compute takes longer to import than this takes.
    texts: list[str] = names.to_pylist()
    if not all(starmap(lt, pairwise(texts if last is None else [last, *texts]))):
        raise RepeatedError
    return texts[-1]
