"""Writes a combined table by the rules of the final one, whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import duckdb
import pyarrow as pa

from vmafarm.combining.sources import Source
from vmafarm.common.errors import UsageError, VmafarmError, show
from vmafarm.common.steps import step
from vmafarm.disk import durable
from vmafarm.disk.drafts import LockedDraft, sweep
from vmafarm.disk.sealed_blocks import stated_digest
from vmafarm.disk.sealed_parquet import DamagedError
from vmafarm.merging.table import ROW_GROUP, ahead, cut, open_writer
from vmafarm.published.combined import KEY, Combined
from vmafarm.published.side_table import is_side, side_path
from vmafarm.report.info import read_info
from vmafarm.run_folder.paths import run_of_table
from vmafarm.run_folder.provenance import METADATA_KEY


def require_place(out: Path, sources: Sequence[Source], *, force: bool) -> None:
    """Refuse a place where the table may not be written; raises UsageError.

    Parameters
    ----------
    out
        Where it is to stand.
    sources
        None of them may be replaced.
    force
        Whether a file that is not a combined table may be.
    """
    folder, shown = out.absolute().parent, show(str(out))
    if out.suffix != ".parquet":
        raise UsageError(
            f"{shown} is to be written, and does not end with .parquet",
            "the first name is that of the new table: vmafarm combine all.parquet TABLE TABLE",
        )
    if out.is_dir():
        raise UsageError(f"{shown} is a folder", "give the name of a file")
    if not folder.is_dir():
        raise UsageError(f"{shown}: its folder is not there", "make it, or choose another")
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise UsageError(f"{shown}: its folder cannot be written", "make it writable, or choose another")
    name = run_of_table(out.name)
    if name and (folder / name).is_dir():
        raise UsageError(f"{shown} is where the run {show(name)} publishes its table", "choose another name")
    if not os.path.lexists(out):
        return
    if source := _source_at(out, sources):
        raise UsageError(
            f"{shown} is to be written, and is {show(source.given)} as well",
            "the first name is that of the new table: choose another",
        )
    if not force and not _is_combined(out):
        raise UsageError(
            f"{shown} is there already, and was not written by vmafarm combine",
            "choose another name, or replace it: --force",
        )


def _source_at(path: Path, sources: Sequence[Source]) -> Source | None:
    """The source that is this file, under this name or another."""
    if not path.exists():
        return None
    found = path.stat()
    return next((one for one in sources if os.path.samestat(found, os.fstat(one.file.fileno()))), None)


def _is_combined(path: Path) -> bool:
    return _read_combined(path) is not None


def _read_combined(path: Path) -> Combined | None:
    try:
        return read_info(path).combined
    except VmafarmError:
        return None


def require_side_place(out: Path, sources: Sequence[Source], *, force: bool, needed: bool) -> None:
    """Refuse a table beside which its side table may not be written; raises UsageError.

    Parameters
    ----------
    out
        Where the table is to stand.
    sources
        None of them may be replaced.
    force
        Whether a file that is not the side table of a combined one may be replaced.
    needed
        Whether there are labels to write. If not, whatever stands there harms nobody.
    """
    side = side_path(out)
    if not needed or not os.path.lexists(side):
        return
    told = f"labels are to be written to {show(str(side))}, which"
    hint = f"choose another name than {show(out.name)} for the table"
    if source := _source_at(side, sources):
        raise UsageError(f"{told} is {show(source.given)} as well", hint)
    name = run_of_table(side.name)
    if name and (side.parent / name).is_dir():
        raise UsageError(f"{told} is where the run {show(name)} publishes its table", hint)
    if side.is_dir():
        raise UsageError(f"{told} is a folder", hint)
    if not force and not (_is_combined(out) and is_side(side)):
        raise UsageError(
            f"{told} is there already, and was not written by vmafarm combine",
            f"{hint}, or replace it: --force",
        )


def write_both(
    out: Path,
    connection: duckdb.DuckDBPyConnection,
    query: str,
    schema: pa.Schema,
    metadata: Mapping[str, Any],
    sources: Sequence[Source],
    labels: bytes | None,
) -> int:
    """As `write_table`, with the side table beside it; None: it has none, and an earlier one is removed.

    Each takes its place whole or not at all. The table states the digest of its side table, so that after a
    kill between the two nobody takes that of another table for it.
    """
    side = side_path(out)
    if labels is None:
        earlier = _read_combined(out)
        rows = write_table(out, connection, query, schema, metadata, sources)
        with suppress(OSError, DamagedError):  # it may be another file by now, and harms nobody
            is_ours = earlier and earlier.labels and stated_digest(side) == earlier.labels.sha256
            if is_ours and _source_at(side, sources) is None:
                durable.remove(side)
        return rows
    sweep(side)
    with LockedDraft(side) as draft:
        draft.write(labels)
        draft.sync()
        rows = write_table(out, connection, query, schema, metadata, sources)
        draft.publish()
    return rows


def write_table(
    out: Path,
    connection: duckdb.DuckDBPyConnection,
    query: str,
    schema: pa.Schema,
    metadata: Mapping[str, Any],
    sources: Sequence[Source],
) -> int:
    """Write the rows of a query, and put the file in place.

    Parameters
    ----------
    out
        Where.
    connection, query
        Returns the rows, in order.
    schema
        Of the rows; columns that are not nullable must not have nulls.
    metadata
        The document for the Parquet metadata.
    sources
        What the query reads.

    Returns
    -------
    int
        Rows.

    Raises
    ------
    UsageError
        A column that may not have nulls has some.
    IncompleteError
        A source was written to meanwhile.
    UnavailableError
        No space, or no permission. Whatever stood there is as it was.
    """
    sweep(out)
    text = json.dumps(metadata, sort_keys=True, separators=(",", ":"))
    statistics = [name for name in ("clip_name", "corpus") if name in schema.names]
    rows = 0
    with LockedDraft(out) as draft:
        with open_writer(cast(BinaryIO, draft), schema, statistics) as writer:
            step("writing the table:", "rows", lambda: rows)
            reader = connection.sql(query).to_arrow_reader(ROW_GROUP)
            for table in ahead(cut(reader, ROW_GROUP)):
                _require_no_nulls(table, schema)
                rows += table.num_rows
                writer.write_table(
                    pa.Table.from_arrays(table.columns, schema=schema), row_group_size=ROW_GROUP
                )
            writer.add_key_value_metadata({METADATA_KEY: text.encode()})
        for source in sources:
            source.require_unchanged()
        draft.publish()
    return rows


def _require_no_nulls(table: pa.Table, schema: pa.Schema) -> None:
    for field, column in zip(schema, table.columns, strict=True):
        if column.null_count and not field.nullable:
            raise UsageError(
                f"the column {show(field.name)} has nulls, expected a value or NaN in each row",
                "was one of the tables changed? vmafarm merge writes it again",
            )


def as_metadata(common: Mapping[str, Any], combined: Mapping[str, Any]) -> dict[str, Any]:
    """The whole document of the metadata."""
    return {**common, KEY: dict(combined)}
