"""Ad-hoc queries over a run, and their answers as a table, JSON or CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from rich.cells import cell_len, set_cell_size

from vmafarm.common.errors import UsageError, show
from vmafarm.common.say import Sink, printable, to_json
from vmafarm.common.utf8 import is_utf8
from vmafarm.config.load import Config
from vmafarm.disk.durable import replace
from vmafarm.query.database import open_run
from vmafarm.query.statements import check_statements, explain
from vmafarm.sql.errors import explain_outside, is_outside
from vmafarm.sql.templates import one_row

Row = tuple[Any, ...]

Write = Callable[[Sequence[str], Iterator[list[Row]]], None]

_BATCH = 1_000
_SHOWN_ROWS = 1_000
_WIDEST_CELL = 48
_NARROWEST_CELL = 16
"""A column that does not fit is cut down to what room there is, but not to less."""
_GAP = "  "


def run_query(
    config: Config,
    query: str,
    write: Write | ArrowWriter,
    say: Callable[[str], None],
    *,
    unsafe: bool = False,
    several: bool = False,
) -> None:
    """Run a query over the tables features, clips, failures and manifest of a run.

    Parameters
    ----------
    config
        The configuration of a planned run.
    query
        DuckDB SQL.
    write
        Told the names of the columns, and gets the rows in batches; once a statement.
    say
        Told where the rows come from, and what was left out.
    unsafe
        Whether the query may write, and read and write files.
    several
        Whether it may be several statements, each with its own answer. All are checked before the
        first one runs.

    Raises
    ------
    UsageError
        The query is wrong, or does what it may not.
    UnavailableError
        It needs more memory than ``merge.memory`` and the scratch folder give.
    """
    if not is_utf8(query):
        raise UsageError(f"the query is not UTF-8: {show(query)}")
    statements = [query] if unsafe else check_statements(query, several=several)
    with open_run(config, say, unsafe=unsafe) as connection:
        answer(connection, statements, write)


def answer(
    connection: duckdb.DuckDBPyConnection, statements: Sequence[str], write: Write | ArrowWriter
) -> None:
    """Run statements, each with its own answer.

    Parameters
    ----------
    connection
        As `vmafarm.query.database.open_run` yields it.
    statements
        Checked already.
    write
        As for `run_query`; or an `ArrowWriter`, which gets the answer in Arrow's types.

    Raises
    ------
    UsageError, UnavailableError
        As for `run_query`.
    """
    try:
        for statement in statements:
            if isinstance(write, ArrowWriter):
                write(_call(connection, _to_arrow, connection, statement))
                continue
            result = _call(connection, connection.execute, statement)
            names = _unique([column[0] for column in result.description or ()])
            write(names, _batches(connection) if names else iter(()))
    except duckdb.Error as error:
        raise _explain(connection, error) from None


def _explain(connection: duckdb.DuckDBPyConnection, error: duckdb.Error) -> BaseException:
    if not is_outside(error):
        return explain(error)
    try:
        settings = (
            "SELECT current_setting('memory_limit') AS memory, current_setting('temp_directory') AS spill"
        )
        bounds = one_row(connection, settings)
    except duckdb.Error:  # nothing can be asked any more; who opened the connection knows them
        return error
    return explain_outside(error, bounds["memory"], Path(bounds["spill"]).parent) or error


def _to_arrow(connection: duckdb.DuckDBPyConnection, statement: str) -> pa.Table:
    return connection.sql(statement).to_arrow_table()


class ArrowWriter:
    """Writes an answer as Parquet, with its types.

    Parameters
    ----------
    path
        Where to; whole or not at all.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, table: pa.Table) -> None:
        """Write it."""
        replace(self._path, partial(pq.write_table, table))


def _unique(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        number = names[: len(found)].count(name)
        found.append(f"{name}_{number}" if number else name)
    return found


def _call(connection: duckdb.DuckDBPyConnection, work: Callable[..., Any], *arguments: Any) -> Any:
    """Let DuckDB work in a thread, and this one hear Ctrl-C: DuckDB looks for signals now and then only."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work, *arguments)
        try:
            return future.result()
        except BaseException:
            while not future.done():  # an interrupt before the query has begun is forgotten
                connection.interrupt()
                wait([future], timeout=0.1)
            raise


def _batches(connection: duckdb.DuckDBPyConnection) -> Iterator[list[Row]]:
    while True:
        try:
            rows = _call(connection, connection.fetchmany, _BATCH)
        except (ValueError, OverflowError) as error:  # a date that Python does not have
            raise UsageError(f"a value cannot be shown: {show(str(error))}", "cast it: x::VARCHAR") from None
        if not rows:
            return
        yield rows


def write_csv(file: Sink, names: Sequence[str], batches: Iterator[list[Row]]) -> None:
    """Write all rows as CSV: NaN as ``nan``, NULL as nothing."""
    writer = csv.writer(_Lines(file))
    writer.writerow(names)
    for rows in batches:
        writer.writerows(rows)


class _Lines:
    """Ends rows as Unix does. csv quotes what it ends rows with, and a lone CR has to be quoted as well."""

    def __init__(self, file: Sink) -> None:
        self._file = file

    def write(self, row: str, /) -> None:
        self._file.write(row.removesuffix("\r\n") + "\n")


def write_json(file: Sink, names: Sequence[str], batches: Iterator[list[Row]]) -> None:
    """Write all rows as a list of objects, one a line; NaN, infinity and NULL are null."""
    separator = "[\n"
    for rows in batches:
        for row in rows:
            file.write(separator + to_json(dict(zip(names, row, strict=True))))
            separator = ",\n"
    file.write("[]\n" if separator.startswith("[") else "\n]\n")


def write_table(file: Sink, width: int, names: Sequence[str], batches: Iterator[list[Row]]) -> None:
    """Write the first rows aligned, as many columns as fit, the last of them cut where that helps.

    Parameters
    ----------
    file
        Where to write.
    width
        Of the terminal, in columns.
    names, batches
        As `run_query` gives them.
    """
    if not names:
        return
    if names == ["explain_key", "explain_value"]:
        for rows in batches:
            for _, plan in rows:
                file.write(f"{printable(str(plan).rstrip())}\n")
        return
    rows, more = _first(batches)
    texts = [[show(name) for name in names], *([_text(value) for value in row] for row in rows)]
    sizes = [min(_WIDEST_CELL, max(map(cell_len, column))) for column in zip(*texts, strict=True)]
    sizes[0] = min(sizes[0], width)
    shown, used = 0, -len(_GAP)
    while shown < len(sizes) and used + len(_GAP) + sizes[shown] <= width:
        used += len(_GAP) + sizes[shown]
        shown += 1
    room = width - used - len(_GAP)
    if shown < len(sizes) and room >= _NARROWEST_CELL:
        sizes[shown] = room
        shown += 1
    numbers = [any(isinstance(row[i], int | float) for row in rows) for i in range(shown)]
    for line in texts:
        cells = [_fit(text, size, right) for text, size, right in zip(line, sizes, numbers, strict=False)]
        file.write(_GAP.join(cells).rstrip() + "\n")
    left = [f"{shown} of {len(names)} columns"] if shown < len(names) else []
    left += [f"the first {len(rows):,} rows"] if more else []
    count = f"{len(rows):,} row{'' if len(rows) == 1 else 's'}"
    file.write(f"({', '.join(left)}: --csv and --json have all)\n" if left else f"({count})\n")


def _first(batches: Iterator[list[Row]]) -> tuple[list[Row], bool]:
    rows: list[Row] = []
    for batch in batches:
        if len(rows) == _SHOWN_ROWS:
            return rows, True
        rows += batch
    return rows, False


def _text(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else f"{value:.10g}"
    return show(str(value))


def _fit(text: str, size: int, right: bool) -> str:
    length = cell_len(text)
    if length > size:
        return set_cell_size(text, size - 1) + "…"
    return " " * (size - length) + text if right else set_cell_size(text, size)
