"""The labels of a combined table: those of its sources, one row per row of the table."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from vmafarm.combining.rows import Selected
from vmafarm.combining.sources import Source
from vmafarm.common.errors import UsageError, show
from vmafarm.common.text import counted
from vmafarm.disk.sealed_parquet import sealed_digest, write_sealed
from vmafarm.published.combined import Labels
from vmafarm.published.side_table import CORPUS, key_columns, read_side, side_path
from vmafarm.run_folder.label_columns import NAME
from vmafarm.sql import templates as sql

_EXACT = 1e15
"""Whole numbers below it are written without a point and an exponent."""


@dataclass(frozen=True)
class Side:
    """The side table of a source.

    Attributes
    ----------
    source
        The table that it belongs to.
    table
        As `vmafarm.published.side_table.read_side` returns it.
    on
        Its columns that name a row.
    """

    source: Source
    table: pa.Table
    on: list[str]


@dataclass(frozen=True)
class Written:
    """A side table that is to be written.

    Attributes
    ----------
    content
        The bytes of the file.
    document
        What the metadata of the table says of it.
    notes
        What is to be told of its columns.
    """

    content: bytes
    document: Labels
    notes: list[str]


@dataclass(frozen=True)
class _Part:
    """A table in DuckDB with labels, and what names a row in it and in the combined table."""

    name: str
    on: list[str]
    table: pa.Table


def read_sides(sources: Sequence[Source]) -> tuple[list[Side], list[str]]:
    """Read the side tables of the sources that have one, and say which are gone.

    Raises
    ------
    IncompleteError
        One is damaged, or belongs to another table.
    UnavailableError
        One cannot be read.
    """
    sides, notes = [], []
    for source in sources:
        info = source.info
        if info is None:
            continue
        table = read_side(source.path, source.file, info.combined)
        if table is not None:
            sides.append(Side(source, table, key_columns(info.combined)))
        elif info.record.get("carried") or (info.combined and info.combined.labels):
            notes.append(
                f"{source.given} was published with labels, but {side_path(source.path).name} is gone"
            )
    return sides, notes


def collect_labels(
    connection: duckdb.DuckDBPyConnection, sides: Sequence[Side], selected: Selected
) -> Written | None:
    """Collect the labels of all rows of a combined table.

    A column has one name in all tables, in any case of letters: as the first of them writes it. It is double
    where it is double in all tables that have values, else text.

    Parameters
    ----------
    connection
        Where the combined table has been selected.
    sides
        Side tables of its sources.
    selected
        The combined table.

    Returns
    -------
    Written or None
        None: no source has labels.

    Raises
    ------
    UsageError
        Two tables of the same clips have different labels of one.
    """
    if not sides:
        return None
    document = selected.document
    keys = key_columns(document)
    notes: list[str] = []
    tables = _same_columns([_without_corpus(side, keys, notes) for side in sides])
    parts = []
    if document.how == "rows":
        stacked = [
            table.append_column(CORPUS, pa.array([side.source.corpus] * table.num_rows, pa.string()))
            for side, table in zip(sides, tables, strict=True)
        ]
        parts.append(_Part("labels_0", keys, pa.concat_tables(stacked, promote_options="default")))
    else:
        in_base = CORPUS in connection.table("base").columns
        for number, (side, table) in enumerate(zip(sides, tables, strict=True)):
            on = [key for key in side.on if key == NAME or in_base]
            parts.append(_Part(f"labels_{number}", on, table))
    connection.execute(sql.render("combine/kept", keys=keys, query=selected.query))
    for part in parts:
        connection.register(part.name, part.table)
    names = list(dict.fromkeys(name for table in tables for name in _labels_of(table)))
    if document.how == "columns":
        _require_same(connection, names, parts, sides)
    query = sql.render("combine/labels", keys=keys, order=keys[::-1], parts=parts, columns=[
        {"name": name, "parts": [part.name for part in parts if name in part.table.schema.names]}
        for name in names
    ])  # fmt: skip
    found: pa.Table = connection.sql(query).to_arrow_table()
    found = found.cast(_schema(keys, names, tables))
    return _written(found, names, notes)


def _written(table: pa.Table, names: list[str], notes: list[str]) -> Written:
    sink = io.BytesIO()
    write_sealed(table, sink)
    content = sink.getvalue()
    labelled: Any = pa.array([False] * table.num_rows, pa.bool_())
    for name in names:
        labelled = pc.or_(labelled, table[name].is_valid())
    rows = pc.sum(labelled).as_py() or 0
    return Written(content, Labels(columns=names, labelled=rows, sha256=sealed_digest(content)), notes)


def _labels_of(table: pa.Table) -> list[str]:
    return [name for name in table.schema.names if name not in (NAME, CORPUS)]


def _without_corpus(side: Side, keys: Sequence[str], notes: list[str]) -> pa.Table:
    """The side table with another name for a label that is called as the column of the corpus is."""
    names = side.table.schema.names
    taken = {name.lower() for name in names}
    renamed = list(names)
    for at in range(len(side.on), len(names)):
        if names[at].lower() == CORPUS:
            number = 2
            while f"{names[at]}_{number}".lower() in taken:
                number += 1
            renamed[at] = f"{names[at]}_{number}"
            if CORPUS in keys:
                notes.append(f"the label {names[at]} of {side.source.given} is called {renamed[at]}")
    return side.table.rename_columns(renamed)


def _same_columns(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """The tables with one name and one type for each column, whatever the case of its letters."""
    first: dict[str, str] = {}
    is_text: set[str] = set()
    for table in tables:
        for name in table.schema.names:
            key = first.setdefault(name.lower(), name).lower()
            if table[name].type == pa.string() and table[name].null_count < table.num_rows:
                is_text.add(key)
    found = []
    for table in tables:
        columns = [
            _as_text(table[name]) if name.lower() in is_text else table[name].cast(pa.float64())
            for name in table.schema.names
        ]
        found.append(pa.table(columns, names=[first[name.lower()] for name in table.schema.names]))
    return found


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if column.type == pa.string():
        return column
    return pa.chunked_array([pa.array(map(_shortest, column.to_pylist()), pa.string())])


def _shortest(value: float | None) -> str | None:
    """The shortest text that says the same number."""
    if value is None:
        return None
    return str(int(value)) if abs(value) < _EXACT and value.is_integer() else repr(value)


def _schema(keys: Sequence[str], names: Sequence[str], tables: Sequence[pa.Table]) -> pa.Schema:
    kinds = {field.name: field.type for table in tables for field in table.schema}
    return pa.schema(
        [*(pa.field(key, pa.string()) for key in keys), *((name, kinds[name]) for name in names)]
    )


def _require_same(
    connection: duckdb.DuckDBPyConnection, names: Sequence[str], parts: Sequence[_Part], sides: Sequence[Side]
) -> None:
    """Refuse two labels of one clip; a table in which a clip has none agrees with any."""
    for name in names:
        having = [at for at, part in enumerate(parts) if name in part.table.schema.names]
        for at, one in enumerate(having):
            for other in having[at + 1 :]:
                query = sql.render(
                    "combine/labels_differing", column=name, one=parts[one], other=parts[other]
                )
                if found := connection.execute(query).fetchone():
                    clip, first, second, clips = found
                    given = [show(sides[place].source.given) for place in (one, other)]
                    raise UsageError(
                        f"{given[0]} and {given[1]} have different labels {show(name)} for "
                        f"{counted(clips, 'clip')}: {show(clip)} has {show(first)} and {show(second)}",
                        "are they tables of the same clips? correct one label file, then plan and merge "
                        f"its run again; or move {show(side_path(sides[other].source.path).name)} away to "
                        "combine without its labels",
                    )
