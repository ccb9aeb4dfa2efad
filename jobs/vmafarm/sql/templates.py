"""SQL templates of the folder sql/, and DuckDB connections within limits.

A template can print only the result of a filter (`literal`, `identifier`) or another rendered template;
anything else raises an error, so that no value becomes SQL unescaped.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import jinja2

from vmafarm.common.cpus import cpu_count
from vmafarm.common.errors import UsageError, show
from vmafarm.common.interrupts import breaking
from vmafarm.common.package import data_folder
from vmafarm.common.utf8 import is_utf8
from vmafarm.sql.errors import explain_outside


class Sql(str):
    """SQL text: a rendered template, or the result of a filter."""

    __slots__ = ()


@dataclass(frozen=True)
class Parameter:
    """A value that is bound when the statement runs; `literal` renders it as ``$name``."""

    name: str


def sql_folder() -> Path:
    """The folder sql/."""
    return data_folder("sql")


def render(name: str, /, **values: Any) -> Sql:
    """Render a template.

    Parameters
    ----------
    name
        Path below sql/ without its suffix, such as ``merge/clips``.
    **values
        The values that the template uses; all are required.

    Returns
    -------
    Sql
        The statement; it can be used in another template.

    Raises
    ------
    jinja2.UndefinedError
        A value that the template uses is missing.
    TypeError
        The template prints a value that passed no filter.
    """
    return Sql(_environment().get_template(f"{name}.sql").render(**values).strip())


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(sql_folder()),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - SQL, not HTML: finalize lets nothing through unescaped
        finalize=_only_sql,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["literal"] = literal
    environment.filters["identifier"] = identifier
    return environment


def _only_sql(value: Any) -> Any:
    if isinstance(value, Sql | jinja2.Undefined):  # undefined: StrictUndefined raises by itself
        return value
    raise TypeError(f"a value of a SQL template needs a filter, literal or identifier: {value!r}")


def identifier(name: str | list[str] | tuple[str, ...]) -> Sql:
    """Quote a name, or a comma-separated list of names, as SQL identifiers."""
    if not isinstance(name, str):
        return Sql(", ".join(identifier(part) for part in name))
    quoted = name.replace('"', '""')
    return Sql(f'"{quoted}"')


def literal(value: Any) -> Sql:
    """Write a value as a SQL literal: text, path, number, list, None, or a bound `Parameter`.

    Control characters become ``chr(n)``, so that a query can be printed and pasted.

    Raises
    ------
    UsageError
        The text is not valid Unicode: a path with bytes that are not UTF-8.
    TypeError
        The value is of another type.
    """
    if isinstance(value, Parameter):
        return Sql(f"${value.name}")
    if isinstance(value, list | tuple):
        return Sql("[" + ", ".join(literal(part) for part in value) + "]")
    if value is None:
        return Sql("NULL")
    if isinstance(value, bool):
        return Sql("true" if value else "false")
    if isinstance(value, int):
        return Sql(str(value))
    if isinstance(value, float):
        return Sql(repr(value) if math.isfinite(value) else f"'{value}'::DOUBLE")
    if isinstance(value, str | Path):
        return _text(str(value))
    raise TypeError(f"no SQL literal for {type(value).__name__}")


def _text(text: str) -> Sql:
    require_utf8(text)
    parts: list[str] = []
    plain = ""
    for character in text:
        if character.isprintable():
            plain += "''" if character == "'" else character
        else:
            parts += [f"'{plain}'"] * bool(plain) + [f"chr({ord(character)})"]
            plain = ""
    parts += [f"'{plain}'"] * bool(plain)
    joined = " || ".join(parts) or "''"
    return Sql(f"({joined})" if len(parts) > 1 else joined)


def require_utf8(text: str) -> None:
    """Refuse text that DuckDB does not accept.

    Raises
    ------
    UsageError
        It contains bytes that are not UTF-8.
    """
    if not is_utf8(text):
        raise UsageError(
            f"{show(text)}: the name is not valid UTF-8, which DuckDB requires",
            "rename it, or choose another folder",
        )


def exact(path: Path) -> str:
    """Escape a path so that DuckDB's `read_parquet` does not take it for a pattern."""
    text = str(path.absolute())
    # DuckDB does not treat a path with a backslash as a pattern.
    return text if "\\" in text else "".join(f"[{c}]" if c in "*?[" else c for c in text)


_STORAGE = "v1.0.0"
"""Format version of database files: the oldest that today's clients use."""


@contextmanager
def connect(
    spill: Path, *, memory: str = "2GB", threads: int | None = None,
    database: Path | None = None, read_only: bool = False, locked: bool = True, readable: str = "",
) -> Iterator[duckdb.DuckDBPyConnection]:  # fmt: skip
    """Open DuckDB with a memory limit and without network access.

    Parameters
    ----------
    spill
        Folder to spill to, in a `vmafarm.process.scratch.scratch_folder`.
    memory
        DuckDB's limit, for example ``2GB``.
    threads
        None: the processors that this process may use.
    database
        File to open; None: in memory.
    read_only
        For statements of users: they cannot change the database, access other files, or use Python
        variables.
    locked
        Whether settings can no longer be changed.
    readable
        A file that statements may read all the same. DuckDB would let them write it as well, so whoever runs
        statements of users must have checked that they only read; "": none.

    Yields
    ------
    duckdb.DuckDBPyConnection
        Closed at the end. It installs and loads no extension. A signal that ends this process interrupts
        its statement.

    Raises
    ------
    UnavailableError
        Too little memory, or disk space for the scratch folder or a file.
    KeyboardInterrupt
        It was interrupted.
    """
    try:
        connection = duckdb.connect(
            ":memory:" if database is None else str(database),
            read_only=read_only,
            config={
                "enable_external_access": not read_only or bool(readable),
                "python_enable_replacements": not read_only,
                "storage_compatibility_version": _STORAGE,
                "memory_limit": memory,
                "temp_directory": str(spill),
                "threads": threads or cpu_count(),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
            },
        )
        with breaking(connection.interrupt), closing(connection):
            connection.execute("SET enable_progress_bar = false")
            if read_only and readable:
                connection.execute(f"SET allowed_paths = {literal([readable])}")
                connection.execute("SET enable_external_access = false")
            if locked:
                connection.execute("SET lock_configuration = true")
            yield connection
    except (duckdb.Error, OSError, RuntimeError) as error:
        if told := explain_outside(error, memory, spill.parent):
            raise told from error
        raise


def one_row(
    connection: duckdb.DuckDBPyConnection, query: str, values: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Run a query that returns one row; return its values by column name.

    The whole result is fetched: before that, DuckDB runs no other statement on the connection.
    """
    result = connection.execute(query, values)
    names = [column[0] for column in result.description]
    (row,) = result.fetchall()
    return dict(zip(names, row, strict=True))
