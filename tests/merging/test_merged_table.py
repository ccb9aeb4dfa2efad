"""The published table: its rows, their order, its bytes and what it says of itself."""

from __future__ import annotations

import json
import os
import random

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.merge_helpers import NAN, Run, make_row, plan_run
from support.merges import CLIPS, clips_shown, finish, refuse, shown

from vmafarm.config.sections import ExtractSection
from vmafarm.merging.merge import merge
from vmafarm.merging.table import cut, is_increasing
from vmafarm.run_folder.provenance import METADATA_KEY
from vmafarm.schema.features import ARROW_SCHEMA

EVIL = [
    "it's.mp4",
    'say "hi".mp4',
    "two\nlines.mp4",
    "'); DROP TABLE x; --.mp4",
    "{{ 7*7 }}.mp4",
    "😀/é.mp4",
    "a,b\\c\t.mp4",
]


def test_complete_run_becomes_a_table_of_exactly_the_schema(run):
    run.shard([make_row(clip) for clip in reversed(CLIPS)])
    result = finish(run)
    assert result.published
    assert result.counts["rows"] == 10
    table = run.table()
    assert table.schema.equals(ARROW_SCHEMA)
    assert table["clip_name"].to_pylist() == CLIPS
    expected = pa.Table.from_pylist([make_row(clip) for clip in CLIPS], schema=ARROW_SCHEMA)
    assert table.to_pandas().equals(expected.to_pandas())


def test_table_states_its_provenance_and_no_gaps_and_no_path(run):
    run.shard([make_row(clip) for clip in CLIPS])
    finish(run)
    with pq.ParquetFile(run.folder.table) as file:
        metadata = file.metadata.metadata
    assert json.loads(metadata[METADATA_KEY]) == run.provenance.as_dict()
    assert str(run.folder.root).encode() not in run.folder.table.read_bytes()


def test_rows_are_in_byte_order_of_their_names(tmp_path):
    names = ["b", "a", "Z", "é", "z", "ﬀ", "😀", "a/b", "a b", "a.b"]
    run = plan_run(tmp_path, names)
    run.shard([make_row(name) for name in names])
    finish(run)
    assert run.table()["clip_name"].to_pylist() == sorted(names, key=str.encode)


@pytest.mark.parametrize("statistics", [True, ["clip_name"]])
def test_single_nan_among_numbers_is_counted(run, statistics):
    rows = [make_row(clip) for clip in CLIPS]
    rows[4] |= {"cambi_mean": NAN, "cambi_std": NAN}
    run.shard(rows, write_statistics=statistics)
    result = finish(run)
    assert result.nan["cambi_mean"] == 1
    assert result.nan["vmaf_mean"] == 0


def test_readers_of_the_table_find_the_nan_without_knowing_of_the_trap(run):
    import pandas as pd

    rows = [make_row(clip) for clip in CLIPS]
    rows[4] |= {"cambi_mean": NAN, "cambi_std": NAN}
    run.shard(rows, write_statistics=True)
    finish(run)
    path = str(run.folder.table)
    with duckdb.connect() as connection:
        query = f"SELECT count(*) FROM '{path}' WHERE isnan(cambi_mean)"
        assert connection.execute(query).fetchall() == [(1,)]
    frame = pd.read_parquet(path)
    assert frame["cambi_mean"].isna().sum() == 1
    assert frame.shape == (10, 48)


def spread(run: Run, rows: list[dict], shards: int, seed: int) -> None:
    """Deal the rows to writers in a random order, a third of them to two writers."""
    order = random.Random(seed)
    dealt = rows + order.sample(rows, len(rows) // 3) if seed else rows
    dealt = order.sample(dealt, len(dealt))
    for number in range(shards):
        run.shard(dealt[number::shards], number % 2, f"{seed}-{order.random()}")


@pytest.mark.parametrize(("shards", "seed", "threads"), [(1, 0, 1), (3, 1, 2), (20, 2, 1), (20, 3, 2)])
def test_same_rows_give_the_same_bytes(tmp_path, shards, seed, threads):
    names = [f"{i:05}.mp4" for i in range(600)]
    rows = [make_row(name) for name in names]
    plain = plan_run(tmp_path / "plain", names)
    plain.shard(rows)
    finish(plain)
    other = plan_run(tmp_path / "other", names, slices=2)
    spread(other, rows, shards, seed)
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(processors)[:threads])  # DuckDB has as many threads
    try:
        result = finish(other)
    finally:
        os.sched_setaffinity(0, processors)
    assert other.folder.table.read_bytes() == plain.folder.table.read_bytes()
    assert (result.counts["duplicate_rows"] == 200) == bool(seed)


def test_cut_makes_tables_of_the_same_size_whatever_the_batches():
    numbers = pa.table({"x": list(range(23))})
    for size in (1, 4, 9, 23, 40):
        tables = list(cut(numbers.to_batches(max_chunksize=size), 8))
        assert [table.num_rows for table in tables] == [8, 8, 7]
        assert pa.concat_tables(tables)["x"].to_pylist() == list(range(23))
    assert list(cut([], 8)) == []


@pytest.mark.parametrize("names", [["a", "a"], ["b", "a"], ["é", "z"]])
def test_names_that_do_not_go_up_are_noticed(names):
    assert is_increasing(None, pa.array(names)) == (False, names[1])
    assert is_increasing(names[0], pa.array(names[1:])) == (False, names[1])
    assert is_increasing("A", pa.array(["a", "é"])) == (True, "é")


def test_merging_again_gives_the_same_bytes_and_leaves_nothing_behind(run, tmp_path):
    run.shard([make_row(clip) for clip in CLIPS])
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    config = run.config.model_copy(update={"extract": ExtractSection(scratch=str(scratch))})
    merge(run.folder, config)
    first = run.folder.table.read_bytes()
    merge(run.folder, config)
    assert run.folder.table.read_bytes() == first
    assert not list(scratch.iterdir())
    assert sorted(path.name for path in run.folder.root.iterdir()) == [
        "demo", "full_features_demo.merge.json", "full_features_demo.parquet",
    ]  # fmt: skip


def test_names_are_data(tmp_path):
    run = plan_run(tmp_path, EVIL)
    run.shard([make_row(name) for name in EVIL[:4]])
    run.shard([make_row(EVIL[0], vmaf_mean=1.0), make_row("unplanned '\n{{ x }}.mp4")], writer="v")
    run.fail(EVIL[5])
    errors = refuse(run, "not_in_manifest", "conflict", "missing", "failed_for_good")
    found = {error["name"]: clips_shown(run, error) for error in errors}
    assert found["not_in_manifest"] == ["unplanned '\n{{ x }}.mp4"]
    assert found["conflict"] == [EVIL[0]]
    assert found["missing"] == sorted({*EVIL[4:]} - {EVIL[5]}, key=str.encode)
    assert found["failed_for_good"] == [EVIL[5]]
    assert all("\n" not in error["message"] for error in errors)
    run.shard([make_row(name) for name in EVIL], writer="v")
    run.shard([make_row(name) for name in EVIL])
    finish(run)
    assert run.table()["clip_name"].to_pylist() == sorted(EVIL, key=str.encode)


def test_run_folder_may_have_any_name(tmp_path):
    name = "it's; DROP TABLE x; -- a[1] *? two\nlines {{ 7*7 }} k=v back\\slash $files 100% é"
    run = plan_run(tmp_path / name, CLIPS)
    run.shard([make_row(clip) for clip in CLIPS[:5]])
    run.shard([make_row(clip) for clip in CLIPS[:2]] + [make_row(CLIPS[4], vmaf_mean=0.0)], writer="v")
    run.clip_log(CLIPS[:5], 1)
    run.clip_log([*CLIPS[:2], CLIPS[4]], 2, writer="v")
    run.fail(CLIPS[9])
    errors = refuse(run, "conflict", "missing", "failed_for_good")
    assert [len(shown(run, error)) for error in errors] == [1, 4, 1]
    result = finish(run, on_conflict="latest", allow_missing=True)
    assert result.counts["rows"] == 5
    assert run.table()["vmaf_mean"].to_pylist()[4] == 0.0
