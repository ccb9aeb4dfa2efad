"""Answers as tables, JSON, CSV and Parquet."""

from __future__ import annotations

import csv
import io
import json
import re
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.cells import cell_len
from support.merge_helpers import Run, make_row
from support.queries import CLIPS

from vmafarm.common.errors import UsageError
from vmafarm.query.answers import run_query, show_rows, write_csv, write_json, write_table
from vmafarm.query.text import write_to


def written(run: Run, query: str, write, *options) -> str:
    file = io.StringIO()
    run_query(run.config, query, partial(write, file, *options), lambda _: None)
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_fits_the_terminal_and_says_what_it_leaves_out(run, width):
    columns = ", ".join(f"{i} AS column_{i}" for i in range(20))
    text = written(run, f"SELECT clip_name, '映像🎬' AS other, {columns} FROM features", write_table, width)
    assert all(cell_len(line) <= width for line in text.splitlines())
    assert re.search(r"22 columns \([1-9]+ shown\)", text)


def test_a_table_shows_control_characters_escaped(run):
    text = written(
        run, 'SELECT clip_name, 2 AS "a\x1b[31m\nb" FROM features ORDER BY 1 DESC', write_table, 80
    )
    assert r"c\n\e[31m{{ 7*7 }}.mp4" in text
    assert r"a\e[31m\nb" in text
    assert all(line.isprintable() for line in text.splitlines())


def test_numbers_without_a_value_are_shown_as_such(run):
    text = written(
        run, "SELECT isnan(cambi_mean), cambi_mean, NULL FROM features ORDER BY 1 DESC", write_table, 80
    )
    assert re.search(r"true +│ +nan │ NULL", text)


def test_of_a_long_answer_a_thousand_rows_are_shown(run):
    text = written(run, "FROM range(100000000000)", write_table, 80)
    assert "1000 shown" in text
    assert 1000 < len(text.splitlines()) < 1020


def test_a_time_with_a_time_zone_and_a_date_that_python_lacks_are_shown(run):
    query = "SELECT TIMESTAMPTZ '2026-01-02 03:04:05+00' AS at, INTERVAL '9000000 years' AS age"
    assert "9000000 years" in written(run, query, write_table, 80)


def test_rows_that_were_fetched_before_are_shown_in_the_same_way():
    rows = [(CLIPS[2], float("nan"), None), ("映像.mp4", 1.5, None)]
    text = show_rows(["clip_name", "vmaf", "vmaf"], rows, 80)
    assert r"c\n\e[31m{{ 7*7 }}.mp4" in text
    assert "vmaf_1" in text
    assert all(line.isprintable() and cell_len(line) <= 80 for line in text.splitlines())
    assert show_rows(["clip_name"], [], 80) == "no rows\n"


def test_a_plan_of_a_query_is_shown_as_it_is(run):
    text = written(run, "EXPLAIN FROM features", write_table, 80)
    assert len(text.splitlines()) > 3
    assert "features" in text
    assert "explain_value" not in text


def test_json_and_csv_have_every_value_and_the_names_as_they_are(run):
    query = "SELECT clip_name, cambi_mean, NULL AS gone, [1.5, 'nan'::DOUBLE] AS list, 1 a, 2 a FROM features"
    first, second = sorted(json.loads(written(run, query, write_json)), key=lambda row: row["clip_name"])
    assert first["cambi_mean"] == make_row(CLIPS[0])["cambi_mean"]
    assert second == {
        "clip_name": CLIPS[2], "cambi_mean": None, "gone": None, "list": [1.5, None], "a": 1, "a_1": 2
    }  # fmt: skip
    header, *rows = csv.reader(io.StringIO(written(run, query, write_csv)))
    assert header == ["clip_name", "cambi_mean", "gone", "list", "a", "a_1"]
    assert {row[0]: (row[1], row[2]) for row in rows} == {
        CLIPS[0]: (repr(make_row(CLIPS[0])["cambi_mean"]), ""), CLIPS[2]: ("nan", ""),
    }  # fmt: skip


def test_an_empty_answer_is_an_empty_list(run):
    query = "SELECT clip_name AS a FROM features WHERE false"
    assert json.loads(written(run, query, write_json)) == []
    assert written(run, query, write_csv) == "a\n"
    assert "0 rows" in written(run, query, write_table, 80)


def test_parquet_keeps_types_and_is_written_whole(run, tmp_path):
    path = tmp_path / "answer.parquet"
    write = write_to(path, lambda _: None)
    run_query(run.config, "SELECT clip_name, width, [1.5] AS list FROM features ORDER BY 1", write, print)
    with pq.ParquetFile(path) as file:
        table = file.read()
    assert [table.schema.field(name).type for name in ("clip_name", "width")] == [pa.string(), pa.int32()]
    assert table["clip_name"].to_pylist() == [CLIPS[0], CLIPS[2]]
    before = path.read_bytes()
    with pytest.raises(UsageError):
        run_query(run.config, "SELECT nothing", write, print)
    assert path.read_bytes() == before
