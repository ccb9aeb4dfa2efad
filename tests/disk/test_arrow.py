"""Tables of Python's values are those that pyarrow makes; no pandas is imported, no thread of Arrow left."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.merge_helpers import make_row, plan_run

from vmafarm.disk.arrow import make_table, numbers
from vmafarm.disk.sealed_parquet import open_sealed, write_sealed

SCHEMA = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),
        pa.field("real", pa.float64(), nullable=False),
        pa.field("small", pa.int32(), nullable=False),
        pa.field("large", pa.int64(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
    ],
    metadata={"key": "value"},
)
ROWS = st.lists(
    st.tuples(
        st.text(st.characters(codec="utf-8")),
        st.floats() | st.integers(-(2**50), 2**50),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(-(2**63), 2**63 - 1),
        st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    )
)


@settings(deadline=None)  # pyarrow imports pandas on the way
@given(ROWS)
def test_a_table_equals_that_of_pyarrow(rows: list[tuple]) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in SCHEMA]
    made = make_table(columns, SCHEMA)
    made.validate(full=True)
    expected = pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )
    assert made.schema.equals(expected.schema, check_metadata=True)
    one, other = (
        [[repr(value) for value in row.values()] for row in table.to_pylist()] for table in (made, expected)
    )  # NaN, too
    assert one == other
    np.testing.assert_array_equal(numbers(made["large"]), np.array(columns[3], np.int64))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.string(), ["a", None]),
        (pa.string(), [b"a"]),
        (pa.float64(), [None]),
        (pa.float64(), ["1.0"]),
        (pa.float64(), [True]),
        (pa.int32(), [1.5]),
        (pa.int32(), [2**31]),
        (pa.int32(), np.array([1], np.int64)),
        (pa.int64(), [None]),
        (pa.timestamp("us", tz="UTC"), [None]),
        (pa.timestamp("us", tz="UTC"), [datetime(2025, 1, 1)]),  # noqa: DTZ001 - without its zone
    ],
)
def test_what_a_column_does_not_hold_is_refused(kind: pa.DataType, values: list) -> None:
    with pytest.raises((TypeError, OverflowError)):
        make_table([values], pa.schema([("column", kind)]))


WRITE_AND_MERGE = """
import json, sys
from datetime import UTC, datetime
from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.merging.merge import merge
from vmafarm.run_folder.provenance import read_provenance
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA
from vmafarm.shards.writer import ShardWriter

config = with_frozen(load(None, ["run.root=runs", "run.name=demo"])[0])
writer = ShardWriter(config.folder, 0, "w", read_provenance(config.folder.provenance), 1)
made_up = {"string": "", "int32": 1, "int64": 1, "double": 1.0, "bool": True}
entry = {field.name: made_up.get(str(field.type), datetime.now(UTC)) for field in CLIP_LOG_SCHEMA}
for row in json.load(sys.stdin):
    writer.append(row, entry | {"clip_name": row["clip_name"]})
writer.close()
assert merge(config.folder, config, allow_missing=True).counts["rows"] == 1
assert "pandas" not in sys.modules
"""


def test_writing_rows_and_merging_them_import_no_pandas(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "runs", ["a.mp4", "b.mp4"], scratch=tmp_path)
    run.freeze()
    rows = json.dumps([make_row("a.mp4")])
    command = [sys.executable, "-c", WRITE_AND_MERGE]
    subprocess.run(command, cwd=tmp_path, input=rows, text=True, check=True)
    assert run.table()["clip_name"].to_pylist() == ["a.mp4"]


READ = """
import os
import sys
from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.run_folder.manifest import load_manifest, load_slices
from vmafarm.shards.footers import check_data
from vmafarm.shards.planned import read_outline
from vmafarm.shards.writer import read_done
from vmafarm.cluster.status import read_status
import vmafarm.scoring.element

config = with_frozen(load(None, ["run.root=runs", "run.name=demo"])[0])
before = os.listdir("/proc/self/task")
assert len(load_slices(config.folder, [0]).names) == 2
assert "numpy.ma" not in sys.modules
assert len(load_manifest(config.folder).names) == read_outline(config.folder).clips == 2
assert read_done(config.folder, [0]) == {"a.mp4"}
assert read_status(config, None).done == 1
assert not check_data(config.folder.shards.glob("*/*.parquet"), config.folder.shards, 100)
assert os.listdir("/proc/self/task") == before
assert not {"duckdb", "jinja2"} & sys.modules.keys()  # elements and status ask no database
from vmafarm.query.answers import run_query
run_query(config, "SELECT clip_name FROM clips", lambda answer: list(answer.rows()[1]), lambda line: None)
assert "pandas" not in sys.modules
"""


def test_reading_imports_no_pandas_and_leaves_no_thread_that_could_abort_the_end(
    tmp_path: Path,
) -> None:
    run = plan_run(tmp_path / "runs", ["a.mp4", "b.mp4"], scratch=tmp_path)
    run.shard([make_row("a.mp4")])
    run.freeze()
    subprocess.run([sys.executable, "-c", READ], cwd=tmp_path, check=True)


def test_a_large_file_with_many_texts_is_read_as_it_was_written(tmp_path):
    """Texts of a large file are read once each, and counted before they are repeated."""
    names = [f"folder/{i % 15_000:08}.mp4" for i in range(20_000)]
    schema = pa.schema([("name", pa.string()), ("n", pa.int64())], {b"k": b"v"})
    with (tmp_path / "x").open("wb") as file:
        write_sealed(pa.table([names, range(20_000)], schema=schema), file)
    sealed = open_sealed(tmp_path / "x")
    found = sealed.read()
    assert found.to_pydict() == {"name": names, "n": list(range(20_000))}
    assert found.schema.equals(sealed.schema)
    assert found.schema.metadata[b"k"] == b"v"
