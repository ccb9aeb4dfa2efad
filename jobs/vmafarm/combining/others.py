"""The columns of a table that is joined to another one; it may be CSV or Parquet of another program."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from vmafarm.combining.sources import Source
from vmafarm.common.errors import UsageError, reason, show
from vmafarm.shards.footers import examples
from vmafarm.sql import templates as sql
from vmafarm.sql.errors import is_outside

SHARED = ("mos", "width", "height")
"""What describes a clip: never prefixed, and the same in all tables."""
_SQL = {"double": "DOUBLE", "int64": "BIGINT", "bool": "BOOLEAN", "string": "VARCHAR"}
_HEADER_BYTES = 1 << 20
_MOST_COLUMNS, _LONGEST_NAME = 10_000, 255


@dataclass(frozen=True)
class Column:
    """One column of the file.

    Attributes
    ----------
    at
        Its name in the file, or in the table that was made of it.
    name
        The name that it gets.
    type
        See `vmafarm.published.combined.TYPES`.
    """

    at: str
    name: str
    type: str

    @property
    def is_number(self) -> bool:
        """Whether a missing value is NaN."""
        return self.type == "double"


@dataclass(frozen=True)
class Other:
    """A table in DuckDB with these columns under their new names.

    Attributes
    ----------
    source
        Where it comes from.
    name
        In DuckDB.
    columns
        All of its columns, the keys too.
    """

    source: Source
    name: str
    columns: tuple[Column, ...]


def load_other(connection: duckdb.DuckDBPyConnection, source: Source, name: str, prefix: str) -> Other:
    """Make a table or view of a file.

    Parameters
    ----------
    connection
        Where.
    source
        The file: Parquet, or CSV in UTF-8 with a header and commas.
    name
        Of the view.
    prefix
        Put before the names of columns, except the keys and `SHARED`.

    Raises
    ------
    UsageError
        It cannot be read, has no names of clips, or a column whose type or name cannot be used.
    """
    is_csv = os.pread(source.file.fileno(), 4, 0) != b"PAR1"
    found = _read_csv(connection, source) if is_csv else _read_schema(source)
    names = [told for told, _, _ in found]
    key = _find_key(names)
    columns = []
    for told, at, kind in found:
        wanted = told if told in (*SHARED, "corpus") else f"{prefix}{told}"
        if told in (key, "corpus"):
            if kind != "string":
                raise UsageError(
                    f"{show(source.given)}: {show(told)} is {kind}, expected text",
                    "the names of the clips stand in the column clip_name, or in the first one",
                )
            wanted = "clip_name" if told == key else told
        columns.append(Column(at, wanted, kind))
    typed = [
        {"at": one.at, "name": one.name, "is_number": one.is_number, "type": sql.Sql(_SQL[one.type])}
        for one in columns
    ]
    scanned = sql.identifier("raw") if is_csv else sql.render("combine/file", file=source.scanned)
    kind = sql.Sql("TABLE" if is_csv else "VIEW")
    connection.execute(sql.render("combine/other", kind=kind, name=name, columns=typed, source=scanned))
    return Other(source, name, tuple(columns))


def _require_names(source: Source, names: Sequence[str]) -> None:
    """Refuse names that DuckDB could not tell apart, and a file that is no table of scores."""
    shown, longest = show(source.given), max(map(len, names), default=0)
    if not names:
        raise UsageError(f"{shown}: it has no columns", "name another file")
    if len(names) > _MOST_COLUMNS or longest > _LONGEST_NAME:
        raise UsageError(
            f"{shown}: {len(names):,} columns with names of up to {longest:,} characters",
            f"expected at most {_MOST_COLUMNS:,} columns, and names of at most {_LONGEST_NAME} characters",
        )
    found = Counter(name.lower() for name in names)
    if twice := [name for name in names if found[name.lower()] > 1]:
        raise UsageError(
            f"{shown}: several columns are called {show(twice[0])}, in any case of letters",
            "rename them in the file",
        )


def _find_key(names: Sequence[str]) -> str:
    """The column of the names of the clips."""
    if "clip_name" in names:
        return "clip_name"
    return next((name for name in names if name != "corpus"), names[0])


def _read_schema(source: Source) -> list[tuple[str, str, str]]:
    """Name, name again and type of each column of a Parquet file."""
    content = source.file
    try:
        with pq.ParquetFile(content) as file:
            schema = file.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise UsageError(
            f"{show(source.given)} cannot be read as Parquet: {reason(error)}", "restore it from a copy"
        ) from None
    _require_names(source, schema.names)
    kinds = [_kind(field.type) for field in schema]
    odd = [
        f"{show(field.name)} is {field.type}" for field, kind in zip(schema, kinds, strict=True) if not kind
    ]
    if odd:
        raise UsageError(
            f"{show(source.given)}: {examples(odd)}",
            "expected columns of numbers, text or booleans: cast or leave out the others",
        )
    return list(zip(schema.names, schema.names, kinds, strict=True))


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "double"
    if pa.types.is_integer(kind):
        return "int64"
    if pa.types.is_boolean(kind):
        return "bool"
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return "string" if is_text else ""


def _read_csv(connection: duckdb.DuckDBPyConnection, source: Source) -> list[tuple[str, str, str]]:
    """Put the fields into the table ``raw``; header, name in that table and type of each column."""
    shown = show(source.given)
    header = _read_header(source)
    columns = [f"c{at}" for at in range(len(header))]
    try:
        connection.execute(sql.render("combine/raw_csv", file=source.scanned, columns=columns))
    except duckdb.Error as error:
        if is_outside(error):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        why = "; ".join(lines[:3]).replace(source.scanned, source.path.name)
        raise UsageError(
            f"{shown} cannot be read as CSV: {show(why)}",
            "expected UTF-8 with a header, commas, and double quotes around names with commas",
        ) from None
    words = connection.execute(sql.render("combine/words", columns=columns)).fetchall()[0]
    key = header.index(_find_key(header))
    text = {key, *(at for at, told in enumerate(header) if told == "corpus")}
    kinds = ["string" if has or at in text else "double" for at, has in enumerate(words)]
    numbers: Sequence[str] = [f"c{at}" for at, kind in enumerate(kinds) if kind == "double"]
    for column in numbers:  # an empty field holds NaN
        connection.execute(sql.render("combine/emptied", column=column))
    return list(zip(header, columns, kinds, strict=True))


def _read_header(source: Source) -> list[str]:
    hint = "expected CSV in UTF-8 with a header and commas, or Parquet"
    begin = os.pread(source.file.fileno(), _HEADER_BYTES, 0)
    line, end, _ = begin.partition(b"\n")
    try:
        text = (begin if b'"' in line else line + end).decode("utf-8-sig", "strict" if end else "ignore")
        header = next(csv.reader(io.StringIO(text), strict=True), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{show(source.given)} cannot be read as CSV: {reason(error)}", hint) from None
    header = [cell.strip() for cell in header]
    if not header or not all(header) or any("\0" in cell for cell in header):
        raise UsageError(f"{show(source.given)}: its first line is no header", hint)
    _require_names(source, header)
    return header
