"""Rows that count, for queries; see `vmafarm.shards.planned`, which elements need without DuckDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from vmafarm.disk.arrow import make_table
from vmafarm.run_folder.paths import RunFolder, slice_id
from vmafarm.sql import templates as sql


def add_planned(connection: duckdb.DuckDBPyConnection, folder: RunFolder, files: Mapping[str, Path]) -> bool:
    """Make the tables that `merge/shards` needs to leave out rows that do not count.

    Parameters
    ----------
    connection
        Gets the temporary tables ``planned`` (each clip that any generation had, and its slice, which is -1
        where it is gone) and ``placed`` (each file of rows, and its slice).
    folder
        The run.
    files
        Path of each file, and that of the shard to which its rows belong.

    Returns
    -------
    bool
        Whether rows have to be left out at all.
    """
    if folder.is_planned_once():
        return False
    newest = folder.manifest
    bound: dict[str, Any] = {"newest": sql.exact(newest)}
    earlier = [sql.exact(path) for path in folder.manifests() if path != newest]
    if earlier:
        bound["earlier"] = earlier
    planned = sql.render(
        "merge/planned", newest=sql.Parameter("newest"), earlier=sql.Parameter("earlier") if earlier else None
    )
    connection.execute(planned, bound)
    columns: list[list[Any]] = [list(files), [slice_id(shard.parent) for shard in files.values()]]
    schema = pa.schema({"filename": pa.string(), "slice": pa.int32()})
    connection.register("placed", make_table(columns, schema))
    return True


def count_rows(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> int:
    """Count all rows of these files, also those that do not count."""
    shards = sql.render("merge/shards", files=sql.Parameter("files") if files else [], planned=False)
    bound = {"files": list(files)} if files else {}
    rows: int = sql.one_row(connection, sql.render("merge/count", shards=shards), bound)["rows"]
    return rows
