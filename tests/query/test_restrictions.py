"""A query reads the run alone: none writes, reaches a file, or names a variable."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pytest
from support.queries import ask, query_run, refuse

from vmafarm.common.errors import UnavailableError
from vmafarm.query.database import open_run

READS = ["read_csv", "read_parquet", "read_text", "read_blob", "glob", "read_json", "parquet_schema"]


def forbidden(folder: Path) -> dict[str, str]:
    """Statements that a query must not be, each by its kind."""
    return {
        "COPY": f"COPY features TO '{folder}/out.csv'",
        "EXPORT": f"EXPORT DATABASE '{folder}/out'",
        "ATTACH": f"ATTACH '{folder}/out.duckdb' AS other",
        "LOAD": "INSTALL httpfs",
        "SET": "SET memory_limit = '900GB'",
        "PRAGMA": "PRAGMA enable_profiling",
        "INSERT": "INSERT INTO features SELECT * FROM features",
        "CREATE": "CREATE TABLE other AS SELECT 1",
        "UPDATE": "UPDATE features SET mos = 5",
        "DELETE": "DELETE FROM features",
        "DROP": "DROP TABLE features",
        "ALTER": "ALTER TABLE features DROP COLUMN mos",
        "CALL": "CHECKPOINT",
        "DETACH": "DETACH other",
        "TRANSACTION": "BEGIN",
    }


@pytest.mark.parametrize("kind", forbidden(Path("x")))
def test_a_statement_that_does_more_than_read_is_one_clear_message(run, tmp_path, kind):
    before = sorted(tmp_path.rglob("*"))
    said = refuse(run, forbidden(tmp_path)[kind])
    assert said.startswith(f"a statement that does not only read: {kind}\n")
    assert "--unsafe" in said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A run's database as queries get it: what is refused changes nothing, so that all tests share it."""
    with open_run(query_run(tmp_path_factory.mktemp("opened")).config, lambda _: None) as connection:
        yield connection


@pytest.mark.parametrize("kind", sorted(forbidden(Path("x")).keys() - {"CALL", "TRANSACTION"}))
def test_the_database_itself_refuses_it_too(opened, tmp_path, kind):
    with pytest.raises(duckdb.Error):
        opened.execute(forbidden(tmp_path)[kind])
    assert len(opened.execute("SELECT mos FROM features WHERE mos <> 5").fetchall()) == 2
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("reader", READS)
def test_no_other_file_is_read(opened, run, tmp_path, reader):
    (tmp_path / "secret").write_text("a,b\n1,2\n")
    query = f"FROM {reader}('{tmp_path}/secret')"
    with pytest.raises(duckdb.PermissionException):
        opened.execute(f"EXPLAIN ANALYZE {query}")
    said = refuse(run, query)
    assert "Permission Error" in said
    assert "a query reads the run alone; --unsafe" in said


def test_no_other_file_is_read_by_its_name_or_from_within(run, tmp_path):
    (tmp_path / "secret").write_text("a,b\n1,2\n")
    refuse(run, f"FROM '{tmp_path}/secret'")
    refuse(run, f"FROM query('FROM read_text(''{tmp_path}/secret'')')")
    refuse(run, f"EXPLAIN ANALYZE COPY features TO '{tmp_path}/out'")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "explain", ["EXPLAIN", "explain ANALYZE", "EXPLAIN (ANALYZE)", "EXPLAIN /*(*/ ANALYZE --\n"]
)
def test_what_explain_analyze_would_run_must_only_read_too(run, explain):
    ask(run, f"{explain} SELECT 1")
    ask(run, f"{explain} (FROM features)")
    for kind, statement in (("COPY", "COPY features TO 'x'"), ("DROP", "DROP VIEW suspects")):
        assert refuse(run, f"{explain} {statement}").startswith(
            f"a statement that does not only read: {kind}"
        )


def test_no_variable_of_python_is_named(run):
    config = [1]  # noqa: F841 - what a query must not see
    assert "does not exist" in refuse(run, "FROM config")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", "0 statements"),
        ("-- nothing", "0 statements"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("SELEC 1", "syntax error"),
        ("SELECT nothing FROM features", "nothing"),
        ("FROM \x1b[31m", ""),
        (os.fsdecode(b"SELECT '\xff'"), r"SELECT '\xff'"),
        ("SELECT INTERVAL '9000000 years'", "cast it: x::VARCHAR"),
        ("SELECT now()", "cast it: x::TIMESTAMP"),
        ("SELECT error('told')", "told"),
    ],
)
def test_a_wrong_query_is_one_message(run, query, told):
    said = refuse(run, query)
    assert told in said
    assert all(line.isprintable() for line in said.splitlines())


def test_a_query_that_needs_too_much_memory_is_reported(run):
    merge_section = run.config.merge.model_copy(update={"memory": "60MB"})
    run.config = run.config.model_copy(update={"merge": merge_section})
    assert "memory" in refuse(run, "SELECT list(range) FROM range(100000000)", UnavailableError)


def test_what_does_not_fit_into_memory_spills_although_no_file_can_be_used(run):
    merge_section = run.config.merge.model_copy(update={"memory": "60MB"})
    run.config = run.config.model_copy(update={"merge": merge_section})
    query = "SELECT count(*) FROM (SELECT hash(i) h, md5(i::VARCHAR) FROM range(1000000) t(i) ORDER BY h)"
    assert ask(run, query)[0] == [(1_000_000,)]


def test_unsafe_may_write_into_the_copy_and_use_files(run, tmp_path):
    query = f"CREATE TABLE mine AS SELECT clip_name FROM features; COPY mine TO '{tmp_path}/out.csv'"
    ask(run, query, unsafe=True)
    assert (tmp_path / "out.csv").read_text().startswith("clip_name\n")
    ask(run, "DELETE FROM features", unsafe=True)
    assert ask(run, "SELECT count(*) FROM features")[0] == [(2,)]


def test_nothing_of_a_query_stays_behind(run, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    ask(run, "FROM features")
    refuse(run, "FROM nothing")
    assert sorted(tmp_path.rglob("*")) == before
