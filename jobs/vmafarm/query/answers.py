"""Queries over a run, and their answers as a table, JSON, CSV or Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from vmafarm.common.errors import UsageError, show
from vmafarm.common.say import Sink, to_json
from vmafarm.common.utf8 import is_utf8
from vmafarm.config.sections import Config
from vmafarm.disk.durable import replace
from vmafarm.query.database import open_run
from vmafarm.query.statements import check_statements, explain, tables_of, without_end
from vmafarm.sql.errors import explain_outside, is_outside
from vmafarm.sql.templates import one_row

Row = tuple[Any, ...]

_BATCH = 1_000
_SHOWN_ROWS = 1_000
_PLAN = ["explain_key", "explain_value"]
"""Columns of what EXPLAIN returns."""


class Answer:
    """The answer to one statement; each method runs the statement.

    DuckDB works in a thread, so that this one hears Ctrl-C: DuckDB itself rarely checks for signals.

    Parameters
    ----------
    connection
        As `vmafarm.query.database.open_run` yields it.
    statement
        Checked already.

    Attributes
    ----------
    fetched
        Rows that were taken so far.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, statement: str) -> None:
        self._connection = connection
        self._statement = statement
        self.fetched = 0

    def rows(self) -> tuple[list[str], Iterator[Row]]:
        """Names of the columns, made unique, and the rows as they are fetched."""
        result = self._call(self._connection.execute, self._statement)
        names = _unique([column[0] for column in result.description or ()])
        return names, self._fetch() if names else iter(())

    def _fetch(self) -> Iterator[Row]:
        while True:
            try:
                rows = self._call(self._connection.fetchmany, _BATCH)
            except (ValueError, OverflowError) as error:  # a date that Python does not have
                raise UsageError(
                    f"a value cannot be shown: {show(str(error))}", "cast it: x::VARCHAR"
                ) from None
            if not rows:
                return
            self.fetched += len(rows)
            yield from rows

    def as_table(self, width: int) -> str:
        """The answer as `show_table` draws it; of EXPLAIN the plan."""
        text: str = self._call(self._draw, width)
        return text

    def _draw(self, width: int) -> str:
        relation = self._connection.sql(without_end(self._statement))
        if relation is None:  # nothing but a remark
            return ""
        if relation.columns == _PLAN:
            return "".join(f"{plan}\n" for _, plan in relation.fetchall())
        return show_table(relation, width)

    def as_arrow(self) -> pa.Table:
        """The answer with its types."""
        table = self._call(lambda: self._connection.sql(self._statement).to_arrow_table())
        self.fetched = table.num_rows
        return table

    def _call(self, work: Callable[..., Any], *arguments: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(work, *arguments)
            try:
                return future.result()
            except BaseException:
                while not future.done():  # an interrupt before the query has begun is forgotten
                    self._connection.interrupt()
                    wait([future], timeout=0.1)
                raise


Write = Callable[[Answer], None]


def run_query(
    config: Config,
    query: str,
    write: Write,
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
        Called with the answer to each statement.
    say
        Receives messages on where the rows come from and what was left out.
    unsafe
        Whether the query may write to the database, and read and write files.
    several
        Whether several statements are allowed, each with its own answer. All are checked before the
        first one runs.

    Raises
    ------
    UsageError
        The query is wrong, or does something that is not allowed.
    UnavailableError
        It needs more memory than ``merge.memory``, and more disk than the scratch folder has.
    """
    if not is_utf8(query):
        raise UsageError(f"the query is not UTF-8: {show(query)}")
    statements = [query] if unsafe else check_statements(query, several=several)
    tables = set() if unsafe else tables_of(statements)
    with open_run(config, say, unsafe=unsafe, tables=tables) as connection:
        try:
            for statement in statements:
                write(Answer(connection, statement))
        except duckdb.Error as error:
            if "frames" in tables and isinstance(error, duckdb.PermissionException) and _OPEN in str(error):
                # DuckDB no longer takes the open file for the one that it may read.
                raise UsageError("another merge has replaced the frames meanwhile", "ask again") from None
            raise _explain(connection, error) from None


_OPEN = "/proc/self/fd/"


def _explain(connection: duckdb.DuckDBPyConnection, error: duckdb.Error) -> BaseException:
    if not is_outside(error):
        return explain(error)
    try:
        settings = (
            "SELECT current_setting('memory_limit') AS memory, current_setting('temp_directory') AS spill"
        )
        bounds = one_row(connection, settings)
    except duckdb.Error:  # the connection answers nothing any more; whoever opened it knows the bounds
        return error
    return explain_outside(error, bounds["memory"], Path(bounds["spill"]).parent) or error


def _unique(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        number = names[: len(found)].count(name)
        found.append(f"{name}_{number}" if number else name)
    return found


def show_table(relation: duckdb.DuckDBPyRelation, width: int) -> str:
    """Draw a relation as DuckDB does, within a width that DuckDB takes for at least 80 columns."""
    text = io.StringIO()
    with redirect_stdout(text):  # DuckDB draws there only
        relation.show(max_width=width, max_rows=_SHOWN_ROWS)
    return text.getvalue().rstrip() + "\n"


def show_rows(names: Sequence[str], rows: Sequence[Row], width: int) -> str:
    """Draw rows that were fetched before, as `show_table` does."""
    if not rows:
        return "no rows\n"
    columns = map(list, zip(*rows, strict=True))
    return show_table(duckdb.from_arrow(pa.table(dict(zip(_unique(names), columns, strict=True)))), width)


def write_table(file: Sink, width: int, answer: Answer) -> None:
    """Write the answer as a table for a terminal of this width."""
    file.write(answer.as_table(width))


def write_csv(file: Sink, answer: Answer) -> None:
    """Write all rows as CSV: NaN as ``nan``, NULL as an empty field."""
    names, rows = answer.rows()
    if names:
        writer = csv.writer(_Lines(file))
        writer.writerow(names)
        writer.writerows(rows)


class _Lines:
    """Ends rows with LF. csv quotes only the characters of its line end, and a lone CR must be quoted too."""

    def __init__(self, file: Sink) -> None:
        self._file = file

    def write(self, row: str, /) -> None:
        self._file.write(row.removesuffix("\r\n") + "\n")


def write_json(file: Sink, answer: Answer) -> None:
    """Write all rows as a list of objects, one per line; NaN, infinity and NULL are null."""
    names, rows = answer.rows()
    separator = "[\n"
    for row in rows:
        file.write(separator + to_json(dict(zip(names, row, strict=True))))
        separator = ",\n"
    file.write("[]\n" if separator.startswith("[") else "\n]\n")


def write_parquet(path: Path, answer: Answer) -> None:
    """Write the answer with its types into a Parquet file; whole or not at all."""
    replace(path, partial(pq.write_table, answer.as_arrow()))
