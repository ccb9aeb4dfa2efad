"""Shards that a merge refuses: where they are, their columns, their damage and their origin."""

from __future__ import annotations

import json
import random
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.merge_helpers import NAN, make_row, plan_run
from support.merges import CLIPS, find, finish, refuse, shown

from vmafarm.common.errors import IncompleteError
from vmafarm.run_folder.provenance import METADATA_KEY, Provenance
from vmafarm.schema.features import ARROW_SCHEMA, COLUMNS, SCHEMA_VERSION
from vmafarm.shards.writer import read_done

SWAPPED = pa.schema([ARROW_SCHEMA.field(i) for i in (0, 1, 3, 2, *range(4, 48))])


def retyped(column: str, kind: pa.DataType) -> pa.Schema:
    return ARROW_SCHEMA.set(COLUMNS.index(column), pa.field(column, kind))


def test_whatever_may_hold_rows_in_the_wrong_place_stops_the_merge(run):
    run.shard([make_row(clip) for clip in CLIPS])
    (run.folder.shard_folder(0) / "x.parquet").mkdir()
    run.shard([make_row(CLIPS[0])], slice_id=7)
    (run.folder.shards / "old").mkdir()
    (run.folder.shards / "old" / "y.parquet").touch()
    (run.folder.shards / "z.parquet").touch()
    (run.folder.shard_folder(0) / "gone.parquet").symlink_to("nowhere")
    (error,) = refuse(run, "misplaced")
    assert error["count"] == 5
    for part in (
        "x.parquet: a folder",
        "slice-00007: the manifest has no",
        "old: not the folder",
        "z.parquet: a file",
    ):
        assert part in error["message"]


def test_other_files_are_reported_and_do_no_harm(run):
    run.shard([make_row(clip) for clip in CLIPS])
    (run.folder.shard_folder(0) / "w.done").touch()
    assert not find(finish(run), "unknown_file")
    (run.folder.shard_folder(0) / "notes.txt").touch()
    (run.folder.shard_folder(0) / ".w.parquet.12.ab.tmp").touch()
    (run.folder.shards / "README").touch()
    (run.folder.shards / "slice-000000").mkdir()
    result = finish(run)
    assert find(result, "unknown_file")[0].count == 3
    assert find(result, "leftover")[0].count == 1


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (ARROW_SCHEMA.append(pa.field("extra\n", pa.float64())), r"unknown column extra\n"),
        (ARROW_SCHEMA.remove(5), "column adm2_std is missing"),
        (ARROW_SCHEMA.set(5, ARROW_SCHEMA.field(6)), "column adm_scale0_mean occurs more than once"),
        (SWAPPED, "column 3 is height, expected width"),
        (retyped("width", pa.int64()), "column width is int64, expected int32"),
        (retyped("vmaf_std", pa.string()), "column vmaf_std is string, expected double"),
        (retyped("ciede2000_std", pa.null()), "column ciede2000_std is null, expected double"),
        (pa.schema([("a", pa.int32())]), "differences in all"),
    ],
)  # fmt: skip
def test_shard_of_another_schema_is_named_with_what_differs(run, schema, told):
    run.shard([make_row(clip) for clip in CLIPS])
    folder = run.folder.shard_folder(0)
    pq.write_table(schema.empty_table(), folder / "bad.parquet")
    (error,) = refuse(run, "schema")
    assert "slice-00000/bad.parquet" in error["message"]
    assert told in error["message"]


def test_columns_declared_nullable_make_no_difference(tmp_path):
    schema = pa.schema([pa.field(field.name, field.type) for field in ARROW_SCHEMA])
    plain, nullable = plan_run(tmp_path / "a", CLIPS), plan_run(tmp_path / "b", CLIPS)
    plain.shard([make_row(clip) for clip in CLIPS])
    nullable.shard([make_row(clip) for clip in CLIPS], schema=schema)
    finish(plain)
    finish(nullable)
    assert nullable.folder.table.read_bytes() == plain.folder.table.read_bytes()


@pytest.mark.parametrize("column", ["clip_name", "mos", "width", "vmaf_mean", "ciede2000_std"])
def test_null_never_passes(run, column):
    schema = pa.schema([pa.field(field.name, field.type) for field in ARROW_SCHEMA])
    rows = [make_row(clip) for clip in CLIPS]
    rows[3][column] = None
    run.shard(rows, schema=schema)
    with pytest.raises(IncompleteError, match=r"\[nulls\] 1 row: "):
        finish(run)
    findings = json.loads(run.folder.merge_record.read_text())["findings"]
    (error,) = [finding for finding in findings if finding["name"] == "nulls"]
    (row,) = shown(run, error)
    assert column in row["name"]
    assert row["clip_name"] == (None if column == "clip_name" else CLIPS[3])


@pytest.mark.parametrize(
    ("keep", "told"), [(0, r"empty \(0 bytes\)"), (30, "cut or damaged"), (-20, "cut or damaged")]
)
def test_cut_shard_is_named_with_the_way_out(run, keep, told):
    path = run.shard([make_row(clip) for clip in CLIPS])
    finish(run)
    path.write_bytes(path.read_bytes()[:keep])
    (error,) = refuse(run, "unreadable_shard")
    assert re.search(f"slice-00000/w.parquet: {told}", error["message"])
    assert "move the files out of the shards folder and run the extraction again" in error["message"]
    path.rename(run.folder.root / "w.parquet")
    run.shard([make_row(clip) for clip in CLIPS], writer="again")
    assert finish(run).published


def test_shard_with_damaged_data_behind_its_footer_is_named(run):
    path = run.shard([make_row(clip) for clip in CLIPS])
    content = bytearray(path.read_bytes())
    content[4:2000] = b"\xff" * 1996
    path.write_bytes(content)
    (error,) = refuse(run, "unreadable_shard")
    assert "slice-00000/w.parquet: cut or damaged" in error["message"]


def test_failed_merge_leaves_the_earlier_table_and_says_so(run):
    path = run.shard([make_row(clip) for clip in CLIPS])
    finish(run)
    before = run.folder.table.read_bytes()
    path.unlink()
    run.shard([make_row(clip) for clip in CLIPS[1:]])
    with pytest.raises(IncompleteError, match=r"earlier merge, .*, is untouched"):
        finish(run)
    assert run.folder.table.read_bytes() == before


def test_shard_of_another_engine_is_named_with_what_differs(run):
    run.shard([make_row(clip) for clip in CLIPS])
    other = type(run.provenance)(**(vars(run.provenance) | {"libvmaf_version": "2", "engine_version": "8"}))
    run.shard([make_row(CLIPS[0])], writer="v", provenance=other)
    (error,) = refuse(run, "provenance")
    assert "slice-00000/v.parquet: engine_version: found '8', expected '9'" in error["message"]
    assert "libvmaf_version: found '2', expected '3'" in error["message"]


@pytest.mark.parametrize(
    ("text", "told"), [(None, "no provenance"), (b"{", "not a JSON"), (b"[]", "not a JSON")]
)
def test_shard_without_provenance_is_refused(run, text, told):
    path = run.shard([make_row(clip) for clip in CLIPS])
    table = pq.ParquetFile(path).read().replace_schema_metadata({METADATA_KEY: text} if text else {})
    pq.write_table(table, path)
    (error,) = refuse(run, "provenance")
    assert told in error["message"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"manifest": "sha256:other"}, "manifest: found 'sha256:other', expected 'sha256:"),
        ({"engine": "vmaf"}, "engine: found 'vmaf', expected 'ffmpeg'"),
        ({"engine_version": "8"}, "engine_version: found '8', expected '9'"),
        ({"backend": "cuda"}, "backend: found 'cuda', expected 'cpu'"),
        (
            {"schema_version": SCHEMA_VERSION + 1},
            f"schema_version: found {SCHEMA_VERSION + 1}, expected {SCHEMA_VERSION}",
        ),
    ],
)
def test_shard_of_another_run_plan_or_engine_is_named_with_what_differs(run, changed, told):
    run.shard([make_row(clip) for clip in CLIPS])
    run.shard([make_row(CLIPS[0])], writer="v", provenance=Provenance(**(vars(run.provenance) | changed)))
    (error,) = refuse(run, "provenance")
    assert f"slice-00000/v.parquet: {told}" in error["message"]


@pytest.mark.parametrize("of", ["shards", "slice"])
def test_a_folder_named_like_a_shard_is_reported_and_its_rows_are_not_used(run, of):
    run.shard([make_row(clip) for clip in CLIPS[1:]])
    inner = run.shard([make_row(CLIPS[0])], writer="inner")
    where = run.folder.shards if of == "shards" else run.folder.shard_folder(0)
    (where / "slice-00003.parquet").mkdir()
    inner.rename(where / "slice-00003.parquet" / "w.parquet")
    (error,) = refuse(run, "misplaced")
    assert "slice-00003.parquet: " in error["message"]


@pytest.mark.parametrize(
    "kind", [pa.float32(), pa.large_string(), pa.decimal128(9, 3), pa.dictionary(pa.int32(), pa.string())]
)
def test_column_of_a_type_that_a_cast_would_hide_is_refused(run, kind):
    column = "vmaf_mean" if kind in (pa.float32(), pa.decimal128(9, 3)) else "clip_name"
    run.shard([make_row(clip) for clip in CLIPS])
    run.shard([], writer="v", schema=retyped(column, kind))
    (error,) = refuse(run, "schema")
    assert f"slice-00000/v.parquet: column {column} is {kind}" in error["message"]


def test_column_of_nulls_alone_is_refused_also_with_rows(run):
    run.shard([make_row(clip) for clip in CLIPS[1:]])
    rows = [make_row(CLIPS[0]) | {"cambi_mean": None}]
    run.shard(rows, writer="v", schema=retyped("cambi_mean", pa.null()))
    (error,) = refuse(run, "schema")
    assert "column cambi_mean is null, expected double" in error["message"]


def test_shard_that_was_rewritten_by_another_program_is_refused(run):
    path = run.shard([make_row(clip) for clip in CLIPS])
    metadata = {METADATA_KEY: run.provenance.as_json().encode()}
    pq.write_table(pq.ParquetFile(path).read().replace_schema_metadata(metadata), path)
    (error,) = refuse(run, "unreadable_shard")
    assert "not written by vmafarm, or changed since" in error["message"]


def test_flipped_bit_is_named_and_the_clips_are_done_again(run):
    path = run.shard([make_row(clip) for clip in CLIPS])
    finish(run)
    before = run.folder.table.read_bytes()
    content = path.read_bytes()
    for at in random.Random(1).sample(range(len(content)), 12):
        path.write_bytes(content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :])
        (error,) = refuse(run, "unreadable_shard")
        assert "slice-00000/w.parquet: " in error["message"]
        assert read_done(run.folder, [0]) == set()
    path.rename(run.folder.root / "away")
    run.shard([make_row(clip) for clip in CLIPS], writer="again")
    finish(run)
    assert run.folder.table.read_bytes() == before


def test_same_row_twice_in_one_shard_collapses_to_the_same_bytes(tmp_path):
    plain, double = plan_run(tmp_path / "a", CLIPS), plan_run(tmp_path / "b", CLIPS)
    rows = [make_row(clip) for clip in CLIPS]
    plain.shard(rows)
    double.shard([*rows, rows[3], rows[3]])
    finish(plain)
    assert finish(double).counts["duplicate_rows"] == 2
    assert double.folder.table.read_bytes() == plain.folder.table.read_bytes()


def test_two_different_rows_of_a_clip_in_one_shard_are_a_conflict(run):
    run.shard([*(make_row(clip) for clip in CLIPS), make_row(CLIPS[3], vmaf_mean=1.0)])
    run.clip_log(CLIPS, 1)
    (error,) = refuse(run, "conflict")
    assert CLIPS[3] in error["message"]
    finish(run, on_conflict="latest")
    assert run.table()["vmaf_mean"].to_pylist()[3] == 1.0  # time does not decide: the smaller one


def test_null_is_not_taken_for_the_nan_of_another_writer(run):
    nullable = pa.schema([pa.field(field.name, field.type) for field in ARROW_SCHEMA])
    rows = [make_row(clip, cambi_mean=NAN, cambi_std=NAN) for clip in CLIPS[:1]]
    run.shard([*rows, *(make_row(clip) for clip in CLIPS[1:])])
    run.shard([row | {"cambi_mean": None, "cambi_std": None} for row in rows], writer="v", schema=nullable)
    with pytest.raises(IncompleteError) as caught:
        finish(run)
    assert "cambi_mean" in caught.value.message
    assert not run.folder.table.exists()


def test_journal_whose_provenance_is_damaged_is_refused(run):
    run.shard([make_row(clip) for clip in CLIPS[1:]])
    path = run.journal([make_row(CLIPS[0])], writer="v")
    path.write_bytes(b"x" + path.read_bytes()[1:])
    errors = {error["name"]: error["message"] for error in refuse(run, "journal")}
    assert "slice-00000/v.journal: the line with its provenance is damaged" in errors["journal"]
