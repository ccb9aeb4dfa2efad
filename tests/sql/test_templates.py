"""SQL templates render safely, and DuckDB stays within bounds."""

from __future__ import annotations

import math
import os
from pathlib import Path

import duckdb
import jinja2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmafarm.common.errors import UsageError
from vmafarm.sql import templates as sql

EVIL = [
    "it's",
    'say "hi"',
    "'); DROP TABLE x; --",
    "{{ 7*7 }}",
    "two\nlines",
    "tab\tand\x1b[31m",
    "😀 é",
    "\\",
    "",
]


@pytest.mark.parametrize("text", EVIL)
def test_literal_of_any_text_is_that_text_again(text):
    assert duckdb.sql(f"SELECT {sql.literal(text)}").fetchall() == [(text,)]


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8")))
def test_literal_survives_every_text(text):
    assert duckdb.sql(f"SELECT {sql.literal(text)}").fetchall() == [(text,)]
    assert sql.literal(text).isprintable()


@pytest.mark.parametrize(
    "value", [None, True, 7, -0.25, 1e-300, math.inf, [1, 2], ["a", "it's"], [[1, 2], [3, 4]]]
)
def test_literal_of_other_values_is_that_value_again(value):
    assert duckdb.sql(f"SELECT {sql.literal(value)}").fetchall() == [(value,)]


def test_literal_nan_is_a_double():
    ((value,),) = duckdb.sql(f"SELECT {sql.literal(math.nan)}").fetchall()
    assert math.isnan(value)


def test_literal_refuses_what_it_does_not_know():
    with pytest.raises(TypeError, match="dict"):
        sql.literal({})


def test_path_that_is_not_utf8_is_refused_with_its_bytes_shown():
    with pytest.raises(UsageError, match=r"\\xff"):
        sql.literal(Path(os.fsdecode(b"/runs/\xff")))


@pytest.mark.parametrize("name", [name for name in EVIL if name])
def test_identifier_names_a_column_whatever_its_name(name):
    assert duckdb.sql(f"SELECT 1 AS {sql.identifier(name)}").columns == [name]


def test_identifier_of_several_is_a_list():
    assert sql.identifier(["a", 'b"']) == '"a", "b"""'


def test_templates_lie_in_the_checkout():
    assert (sql.sql_folder() / "merge" / "rows.sql").is_file()


def test_template_without_a_value_does_not_render():
    with pytest.raises(jinja2.UndefinedError, match="shards"):
        sql.render("merge/rows", columns=["a"], repeated=False)


def test_value_without_a_filter_does_not_render():
    with pytest.raises(TypeError, match="filter"):
        sql.render("query/repeated", rows="x; DROP TABLE y")


def test_rendered_template_stands_in_another_one():
    shards = sql.render("merge/shards", files=["it's.parquet"], planned=False)
    assert "'it''s.parquet'" in sql.render("query/repeated", rows=shards)


def test_parameter_is_bound_not_pasted():
    assert "read_parquet($files," in sql.render("merge/shards", files=sql.Parameter("files"), planned=False)


def test_every_scan_of_parquet_expects_nan_and_no_hive_columns():
    for path in sql.sql_folder().glob("**/*.sql"):
        text = path.read_text()
        scans = text.count("read_parquet(")
        assert text.count("can_have_nan = true") == scans, path
        assert text.count("hive_partitioning = false") == scans, path


@pytest.mark.parametrize(
    "name", ["plain", "a[1]", "st*r", "q?x", "[!x]", "{a,b}", "k=v", "a%20b", "~", "it's\n", "back\\slash"]
)
def test_path_is_itself_and_no_pattern(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    pq.write_table(pa.table({"x": [1]}), folder / "w.parquet")
    decoy = tmp_path / "a1"  # what "a[1]" matches as a pattern
    decoy.mkdir()
    pq.write_table(pa.table({"x": [2]}), decoy / "w.parquet")
    source = sql.render("merge/shards", files=[sql.exact(folder / "w.parquet")], planned=False)
    assert duckdb.sql(f"SELECT x FROM {source}").fetchall() == [(1,)]


def test_connection_is_bounded_and_cannot_reach_the_network(tmp_path):
    with sql.connect(tmp_path / "spill", memory="200MB", threads=1) as connection:
        settings = dict(connection.execute("SELECT name, value FROM duckdb_settings()").fetchall())
        assert settings["threads"] == "1"
        assert settings["memory_limit"].startswith("190.7")
        assert settings["temp_directory"] == str(tmp_path / "spill")
        for name in (
            "autoinstall_known_extensions",
            "autoload_known_extensions",
            "allow_community_extensions",
        ):
            assert settings[name] == "false"
        with pytest.raises(duckdb.Error):
            connection.execute("SELECT * FROM 'https://localhost:1/x.parquet'")
        with pytest.raises(duckdb.InvalidInputException, match="locked"):
            connection.execute("SET autoload_known_extensions = true")


def test_what_does_not_fit_into_memory_spills_and_is_removed(tmp_path):
    spill = tmp_path / "spill"
    with sql.connect(spill, memory="60MB", threads=1) as connection:
        rows = connection.execute(
            "SELECT count(*) FROM (SELECT hash(i) h, md5(i::VARCHAR) FROM range(1000000) t(i) ORDER BY h)"
        )
        assert rows.fetchall() == [(1_000_000,)]
    assert not list(spill.glob("*"))


def test_one_row_comes_with_its_names(tmp_path):
    with sql.connect(tmp_path, threads=1) as connection:
        assert sql.one_row(connection, "SELECT $a + 1 AS b", {"a": 1}) == {"b": 2}
        assert sql.one_row(connection, "SELECT 3 AS c") == {"c": 3}
