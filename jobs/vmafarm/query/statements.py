"""Statements that users write: that they only read, and what DuckDB says of them."""

from __future__ import annotations

import duckdb

from vmafarm.common.errors import UsageError, show


def check_statements(query: str, *, several: bool = False) -> list[str]:
    """Make sure that a query only reads, and take it apart into its statements.

    The database refuses what would write; this says so before, and in one way for all kinds.

    Parameters
    ----------
    query
        DuckDB SQL.
    several
        Whether it may be more than one statement.

    Raises
    ------
    UsageError
        It is none, more than allowed, of another kind, or no SQL.
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
        if statement.type not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
            raise UsageError(f"a statement that does not only read: {statement.type.name}", only)
    return [statement.query for statement in statements]


def explain(error: duckdb.Error) -> UsageError:
    """What DuckDB says, as one of our errors."""
    if "pytz" in str(error):
        return UsageError("a time with a time zone cannot be shown", "cast it: x::TIMESTAMP")
    lines = [show(line) for line in str(error).splitlines() if line.strip()][:8]
    if isinstance(error, duckdb.PermissionException):
        return UsageError(lines[0], "a query reads the run alone; --unsafe lets it read and write files")
    return UsageError(
        "\n".join(lines) or type(error).__name__,
        "tables: features, clips, failures, manifest; others are listed in docs/queries.md",
    )
