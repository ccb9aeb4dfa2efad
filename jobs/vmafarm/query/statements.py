"""Checks that statements of users only read, and explains DuckDB's errors."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

import duckdb

from vmafarm.common.errors import UsageError, show


def check_statements(query: str, *, several: bool = False) -> list[str]:
    """Check that a query only reads, and split it into statements.

    The database refuses to write, too; this comes first, with one message for all kinds of statements.

    Parameters
    ----------
    query
        DuckDB SQL.
    several
        Whether more than one statement is allowed.

    Raises
    ------
    UsageError
        There is no statement, or more than allowed; one does more than read, or is not valid SQL.
    """
    only = "SELECT, FROM, WITH, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN; --unsafe takes everything"
    if not several:
        only = f"one {only}"
    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error as error:
        raise explain(error) from None
    if not statements or (len(statements) > 1 and not several):
        expected = "at least one" if several else "one"
        raise UsageError(f"{len(statements)} statements, expected {expected} that reads", only)
    for statement in statements:
        kind = _kind(statement)
        if kind != duckdb.StatementType.SELECT:
            raise UsageError(f"a statement that does not only read: {kind.name}", only)
    return [statement.query for statement in statements]


def _kind(statement: duckdb.Statement) -> duckdb.StatementType:
    """The type of a statement; of EXPLAIN that of what it explains, which EXPLAIN ANALYZE runs."""
    if statement.type != duckdb.StatementType.EXPLAIN:
        return statement.type
    text = statement.query.encode()
    begins = [at for at, _ in duckdb.tokenize(statement.query) if text[at : at + 2] not in (b"--", b"/*")]
    words = [text[at:end].split(maxsplit=1)[0].upper() for at, end in pairwise([*begins, len(text)])]
    first = 2 if words[1:2] == [b"ANALYZE"] else 1
    options = words.index(b")") + 1 if b")" in words else first  # EXPLAIN (FORMAT json) SELECT ...
    for number in (first, options):
        with suppress(duckdb.Error, IndexError):
            found = duckdb.extract_statements(text[begins[number] :].decode())
            if len(found) == 1:
                return found[0].type
    return statement.type


def tables_of(statements: Sequence[str]) -> set[str]:
    """Names of the tables that statements read, in lower case; empty if one of them reads none by its name.

    ``SHOW TABLES`` and DuckDB's own lists of tables are such: they may be about any of them.
    """
    found: set[str] = set()
    with duckdb.connect() as connection:
        for statement in statements:
            try:
                names = connection.get_table_names(statement)
            except duckdb.Error:  # it is told what is wrong when it is run
                return set()
            if not names:
                return set()
            found |= {name.lower() for name in names}
    return found


def without_end(statement: str) -> str:
    """Cut the final semicolon and what follows: to show a statement, DuckDB puts it into parentheses."""
    text, end = statement.encode(), None
    for at, _ in reversed(duckdb.tokenize(statement)):
        if text[at : at + 1] == b";":
            end = at
        elif text[at : at + 2] not in (b"--", b"/*"):
            break
    return text[:end].decode()


def explain(error: duckdb.Error) -> UsageError:
    """Convert an error of DuckDB."""
    if "pytz" in str(error):
        return UsageError("a time with a time zone cannot be shown", "cast it: x::TIMESTAMP")
    lines = [show(line) for line in str(error).splitlines() if line.strip()][:8]
    if isinstance(error, duckdb.PermissionException):
        return UsageError(lines[0], "a query reads the run alone; --unsafe lets it read and write files")
    return UsageError(
        "\n".join(lines) or type(error).__name__,
        "tables: features, clips, failures, manifest; others are listed in docs/queries.md",
    )
