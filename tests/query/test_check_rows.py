"""What is kept of a check's rows: the first ones in its order, and how many there are."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from vmafarm.query import checks
from vmafarm.query.checks import Check, run_check


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE features AS SELECT range AS number FROM range(100_000)")
        yield connection


def check(query: str) -> Check:
    return Check(1, "numbers", "warn", "offenders", "none", "a test", query)


@pytest.mark.parametrize("end", ["", ";", " -- the last ones\n;", "; -- the last ones"])
@pytest.mark.parametrize(
    ("limit", "kept"), [(0, 0), (3, 3), (50_000, 50_000), (50_001, 50_000), (None, 50_000)]
)
def test_all_rows_are_counted_and_the_first_ones_kept(
    connection: duckdb.DuckDBPyConnection, limit: int | None, kept: int, end: str
) -> None:
    query = f"SELECT number, -number AS other FROM features WHERE number >= 50000 ORDER BY number DESC{end}"
    outcome = run_check(connection, check(query), limit)
    assert (outcome.result, outcome.count, outcome.columns) == ("found", 50_000, ("number", "other"))
    assert outcome.rows == tuple((99_999 - at, at - 99_999) for at in range(kept))


def test_rows_beyond_those_that_are_kept_are_not_fetched(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column of 152,265 offenders would otherwise be a million objects of Python."""
    fetched = []

    def fetch(*arguments: object) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        columns, rows = actual(*arguments)  # type: ignore[arg-type]
        fetched.append(len(rows))
        return columns, rows

    actual = checks._fetch
    monkeypatch.setattr(checks, "_fetch", fetch)
    assert run_check(connection, check("SELECT number FROM features ORDER BY number"), 20).count == 100_000
    assert fetched == [21]
