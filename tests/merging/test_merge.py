"""The merge: what is published, and what stops it. Each rule fires, and keeps silent."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import os
import random
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.merge_helpers import NAN, Run, make_row, plan_run, rows_of

from vmafarm.common.errors import IncompleteError, UnavailableError, UsageError
from vmafarm.config.sections import ExtractSection
from vmafarm.disk.jsonl import checked_line, read_checked
from vmafarm.merging import steps
from vmafarm.merging.merge import MergeResult, merge, summarise
from vmafarm.merging.steps import Merge
from vmafarm.merging.table import TableWriter, Written, cut, is_increasing
from vmafarm.run_folder.provenance import METADATA_KEY, Provenance, read_provenance
from vmafarm.schema.features import ARROW_SCHEMA, COLUMNS, FEATURE_COLUMNS
from vmafarm.shards import lost_provenance as restore
from vmafarm.shards.completeness import FailedClip
from vmafarm.shards.recovery import Recovered, recover
from vmafarm.shards.writer import read_done

CLIPS = [f"clip_{i:02}.mp4" for i in range(10)]
EVIL = [
    "it's.mp4",
    'say "hi".mp4',
    "two\nlines.mp4",
    "'); DROP TABLE x; --.mp4",
    "{{ 7*7 }}.mp4",
    "😀/é.mp4",
    "a,b\\c\t.mp4",
]


SWAPPED = pa.schema([ARROW_SCHEMA.field(i) for i in (0, 1, 3, 2, *range(4, 48))])
WIDE = dict.fromkeys(COLUMNS) | {"clip_name": "clip_00.mp4", "mos": 3.0, "width": "wide", "height": 540}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Ten clips in one slice, no rows yet."""
    return plan_run(tmp_path / "runs", CLIPS)


def finish(run: Run, **options) -> MergeResult:
    return merge(run.folder, run.config, **options)


def refuse(run: Run, *names: str, **options) -> list[dict]:
    """Merge, expect exactly these errors and no new table; returns them."""
    before = run.folder.table.read_bytes() if run.folder.table.exists() else None
    with pytest.raises(IncompleteError) as caught:
        finish(run, **options)
    report = json.loads(run.folder.merge_record.read_text())
    errors = [finding for finding in report["findings"] if finding["severity"] == "error"]
    assert sorted(error["name"] for error in errors) == sorted(names)
    assert report["published"] is False
    assert (run.folder.table.read_bytes() if run.folder.table.exists() else None) == before
    for error in errors:
        assert error["message"] in caught.value.message
    assert not list(run.folder.root.glob(".*"))
    return errors


def find(result: MergeResult, name: str) -> list:
    return [finding for finding in result.findings if finding.name == name]


# What is published


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
    (finding,) = find(result, "unexpected_nan")
    assert finding.severity == "warn"
    assert [row[0] for row in rows_of(finding.query)] == [CLIPS[4]]


def test_readers_of_the_table_find_the_nan_without_knowing_of_the_trap(run):
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
    result = finish(other, threads=threads)
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
    errors = refuse(run, "unknown", "conflict", "missing", "failed_for_good")
    shown = {error["name"]: [row[0] for row in rows_of(error["query"])] for error in errors}
    assert shown["unknown"] == ["unplanned '\n{{ x }}.mp4"]
    assert shown["conflict"] == [EVIL[0]]
    assert shown["missing"] == sorted(EVIL[4:], key=str.encode)
    assert shown["failed_for_good"] == [EVIL[5]]
    assert all("\n" not in error["message"] for error in errors)
    run.shard([make_row(name) for name in EVIL], writer="v")
    run.shard([make_row(name) for name in EVIL])
    finish(run)
    assert run.table()["clip_name"].to_pylist() == sorted(EVIL, key=str.encode)


@pytest.mark.parametrize(
    "name",
    ["it's; DROP TABLE x; --", "a[1] *?", "two\nlines", "{{ 7*7 }}", "k=v", "back\\slash", "$files 100% é"],
)
def test_run_folder_may_have_any_name(tmp_path, name):
    run = plan_run(tmp_path / name, CLIPS)
    run.shard([make_row(clip) for clip in CLIPS[:5]])
    run.shard([make_row(clip) for clip in CLIPS[:2]] + [make_row(CLIPS[4], vmaf_mean=0.0)], writer="v")
    run.clip_log(CLIPS[:5], 1)
    run.clip_log([*CLIPS[:2], CLIPS[4]], 2, writer="v")
    run.fail(CLIPS[9])
    errors = refuse(run, "conflict", "missing", "failed_for_good")
    assert [len(rows_of(error["query"])) for error in errors] == [1, 5, 1]
    result = finish(run, on_conflict="latest", allow_missing=True)
    assert result.counts["rows"] == 5
    assert run.table()["vmaf_mean"].to_pylist()[4] == 0.0


# The plan


def test_run_that_was_not_planned_is_wrong_use(run):
    run.folder.manifest.unlink()
    with pytest.raises(UsageError, match="not planned"):
        finish(run)


def test_damaged_manifest_is_wrong_use(run):
    run.folder.manifest.write_bytes(run.folder.manifest.read_bytes()[:-9])
    with pytest.raises(UsageError, match="manifest"):
        finish(run)


def test_manifest_with_damaged_data_is_named(run):
    run.shard([make_row(clip) for clip in CLIPS])
    content = bytearray(run.folder.manifest.read_bytes())
    content[10:40] = b"\xff" * 30
    run.folder.manifest.write_bytes(content)
    with pytest.raises((UsageError, UnavailableError), match="manifest"):
        finish(run)


def test_manifest_of_another_corpus_is_told(run, tmp_path):
    run.shard([make_row(clip) for clip in CLIPS])
    other = plan_run(tmp_path / "other", CLIPS[:9])
    run.folder.manifest.write_bytes(other.folder.manifest.read_bytes())
    (error,) = refuse(run, "provenance")
    assert other.provenance.manifest in error["message"]


def test_run_without_any_row_says_so(run):
    refuse(run, "no_rows", "missing")
    run.folder.provenance.unlink()
    _, error = refuse(run, "no_rows", "missing")
    assert "Not tried yet: 10" in error["message"]


def test_corpus_of_nothing_but_bad_clips_has_no_table_and_each_clip_with_its_reason(run):
    for clip in CLIPS:
        run.fail(clip)
    run.folder.shards.mkdir(exist_ok=True)
    for allowed in ({}, {"allow_missing": True}, {"max_failed_share": 1.0}):
        with pytest.raises(IncompleteError) as caught:
            finish(run, **allowed)
        assert "[no_rows]" in caught.value.message
        assert f"  {CLIPS[0]}: decode_error: cannot take {CLIPS[0]}" in caught.value.message
        assert not run.folder.table.exists()


def test_run_whose_rows_are_all_missing_publishes_nothing_even_if_allowed(run):
    run.shard([])
    refuse(run, "no_rows", allow_missing=True)


def test_a_provenance_that_an_element_freezes_meanwhile_was_not_lost(run, monkeypatch):
    run.shard([make_row(clip) for clip in CLIPS])
    run.folder.provenance.unlink()
    agreed = restore._agreed

    def late(*arguments):
        run.folder.provenance.write_text(run.provenance.as_json() + "\n")
        return agreed(*arguments)

    monkeypatch.setattr(restore, "_agreed", late)
    assert restore.restore_provenance(run.folder) == 0


def test_a_lost_provenance_is_not_that_of_the_next_engine_while_rows_cannot_be_read(run, monkeypatch):
    shard = run.shard([make_row(clip) for clip in CLIPS])
    run.folder.provenance.unlink()

    def closed(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(restore, "open_sealed", closed)
    with pytest.raises(UnavailableError, match="the rows that say what it held cannot be read") as caught:
        restore.restore_provenance(run.folder)
    assert f"{shard}: Permission denied" in caught.value.message
    monkeypatch.setattr(type(shard), "iterdir", closed)
    with pytest.raises(UnavailableError, match=r"shards cannot be read: Permission denied"):
        restore.restore_provenance(run.folder)
    assert not run.folder.provenance.exists()


@pytest.mark.parametrize("how", ["lost", "damaged", "link"])
def test_a_provenance_that_was_lost_or_damaged_is_made_anew_from_shards_and_journals(run, how):
    run.shard([make_row(clip) for clip in CLIPS[:4]])
    run.journal([make_row(clip) for clip in CLIPS[4:]], writer="killed")
    if how == "lost":
        run.folder.provenance.unlink()
    elif how == "link":
        run.folder.provenance.unlink()
        run.folder.provenance.symlink_to("gone")
    else:
        run.folder.provenance.write_text(run.provenance.as_json()[:100])
    result = finish(run)
    assert read_provenance(run.folder.provenance) == run.provenance
    (warning,) = [finding for finding in result.findings if finding.name == "provenance"]
    assert (warning.severity, warning.count) == ("warn", 2)
    assert "was rebuilt from 2 files of rows, which all agree" in warning.message
    assert result.inputs_sha256 == finish(run).inputs_sha256


def test_shards_that_do_not_agree_make_no_provenance_anew(run):
    other = dataclasses.replace(run.provenance, engine_version="other")
    run.shard([make_row(clip) for clip in CLIPS])
    run.shard([make_row(CLIPS[0])], writer="x", provenance=other)
    run.folder.provenance.unlink()
    with pytest.raises(UsageError, match=r"do not agree on what it said: .*engine_version: found 'other'"):
        finish(run)
    assert not run.folder.provenance.exists()


def test_shards_of_another_manifest_make_no_provenance_anew(run):
    other = dataclasses.replace(run.provenance, manifest="sha256:00")
    run.shard([make_row(clip) for clip in CLIPS], provenance=other)
    run.folder.provenance.unlink()
    with pytest.raises(UsageError, match=r"the manifest is sha256:.*, w\.parquet is of sha256:00"):
        finish(run)


def test_a_damaged_provenance_of_no_rows_is_to_be_removed(run):
    run.folder.provenance.write_text("{")
    with pytest.raises(UsageError, match="is damaged") as caught:
        finish(run)
    assert caught.value.hint.startswith("remove it")


def test_damaged_shards_without_the_run_s_provenance_are_not_published(run):
    run.shard([make_row(clip) for clip in CLIPS]).write_bytes(b"PAR1")
    run.folder.provenance.unlink()
    refuse(run, "provenance", "no_rows", "missing")


def test_arguments_are_checked(run):
    with pytest.raises(UsageError, match="expected fail or latest"):
        finish(run, on_conflict="newest")
    for share in (5, 1.01, -0.01, float("nan")):
        with pytest.raises(UsageError, match="from 0 to 1"):
            finish(run, max_failed_share=share)


# Files


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
    assert rows_of(error["query"])


def test_other_files_are_told_and_do_no_harm(run):
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


def retyped(column: str, kind: pa.DataType) -> pa.Schema:
    return ARROW_SCHEMA.set(COLUMNS.index(column), pa.field(column, kind))


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (ARROW_SCHEMA.append(pa.field("extra\n", pa.float64())), r"unknown column extra\n"),
        (ARROW_SCHEMA.remove(5), "column adm2_std is missing"),
        (ARROW_SCHEMA.set(5, ARROW_SCHEMA.field(6)), "column adm_scale0_mean is there twice"),
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
    assert rows_of(error["query"])


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
    with pytest.raises(IncompleteError, match=f"{column} is NULL"):
        finish(run)
    (error,) = [
        finding
        for finding in json.loads(run.folder.merge_record.read_text())["findings"]
        if finding["name"] == "null"
    ]
    assert len(rows_of(error["query"])) == error["count"] == 1


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
    assert rows_of(error["query"])[0][0] == str(path)
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
    other = type(run.provenance)(**(vars(run.provenance) | {"libvmaf_version": "2", "constant": ()}))
    run.shard([make_row(CLIPS[0])], writer="v", provenance=other)
    (error,) = refuse(run, "provenance")
    assert (
        "slice-00000/v.parquet: features.ciede2000: found 'measured', expected 'constant'" in error["message"]
    )
    assert "libvmaf_version: found '2', expected '3'" in error["message"]
    assert rows_of(error["query"])


@pytest.mark.parametrize(
    ("text", "told"), [(None, "no provenance"), (b"{", "not a JSON"), (b"[]", "not a JSON")]
)
def test_shard_without_provenance_is_refused(run, text, told):
    path = run.shard([make_row(clip) for clip in CLIPS])
    table = pq.ParquetFile(path).read().replace_schema_metadata({METADATA_KEY: text} if text else {})
    pq.write_table(table, path)
    (error,) = refuse(run, "provenance")
    assert told in error["message"]


# Journals


def test_rows_of_killed_writers_take_part(tmp_path):
    run, plain = plan_run(tmp_path / "a", CLIPS), plan_run(tmp_path / "b", CLIPS)
    rows = [make_row(clip) for clip in CLIPS]
    plain.shard(rows)
    finish(plain)
    run.shard(rows[:4])
    run.journal(rows[:7], torn=b'deadbeef {"row": {"clip')
    run.journal(rows[7:], writer="v")
    result = finish(run)
    assert result.counts["recovered_rows"] == 6
    assert result.counts["torn_lines"] == 1
    assert result.counts["duplicate_rows"] == 0
    assert run.folder.table.read_bytes() == plain.folder.table.read_bytes()


def test_journal_and_shard_of_one_writer_hold_the_same_row_once(run):
    rows = [make_row(clip) for clip in CLIPS]
    run.shard(rows)
    run.journal(rows)
    result = finish(run)
    assert result.counts["recovered_rows"] == result.counts["duplicate_rows"] == 0


def test_what_stands_in_a_journal_and_in_the_clip_log_of_its_writer_counts_once(run):
    """As a writer leaves it that is killed between, or just after, its clip log and its shard."""
    rows = [make_row(clip) for clip in CLIPS]
    run.clip_log(CLIPS[:8], 0)
    run.shard(rows[:6])
    run.journal(rows)
    run.journal([rows[0]], writer="another host")  # scored there as well
    result = finish(run)
    assert result.counts["recovered_rows"] == 5
    assert result.audits["seconds_scoring"] == 0.75 * 11


def test_rows_that_move_from_a_journal_to_a_new_shard_meanwhile_are_merged(run, monkeypatch):
    """Their writer ends after the shards were listed, and before its journal is read."""
    rows = [make_row(clip) for clip in CLIPS]
    journal = run.journal(rows)

    def late(*arguments) -> Recovered:
        run.shard(rows)
        journal.unlink()
        return recover(*arguments)

    monkeypatch.setattr(steps, "recover", late)
    assert finish(run).counts["rows"] == len(CLIPS)


def test_queries_show_rows_of_journals_too(run):
    run.shard([make_row(clip) for clip in CLIPS[:3]])
    run.journal([make_row(CLIPS[3]), make_row(CLIPS[0], vmaf_std=7.0)], writer="v")
    errors = refuse(run, "missing", "conflict")
    assert {error["name"]: len(rows_of(error["query"])) for error in errors} == {"missing": 6, "conflict": 1}


@pytest.mark.parametrize(
    "record",
    [
        {"row": {"clip_name": "x"}, "log": {}},
        {"row": WIDE, "log": {"host": "h", "finished_at": "2025-01-01T00:00:00+00:00"}},
        {"provenance": {"engine": "vmaf"}},
        [],
        {},
    ],
)  # fmt: skip
def test_journal_that_is_none_is_named(run, record):
    run.shard([make_row(clip) for clip in CLIPS])
    path = run.journal([], writer="bad")
    path.write_bytes(checked_line(record))
    (error,) = refuse(run, "journal")
    assert "slice-00000/bad.journal" in error["message"]
    assert rows_of(error["query"])


# Clips and scores


def test_row_of_an_unplanned_clip_is_refused(run):
    run.shard([make_row(clip) for clip in [*CLIPS, "other.mp4"]])
    (error,) = refuse(run, "unknown")
    assert "other.mp4" in error["message"]
    assert [row[0] for row in rows_of(error["query"])] == ["other.mp4"]


def test_score_that_differs_from_the_manifest_is_refused(run):
    run.shard([make_row(clip, mos=3.0 + (clip == CLIPS[2]) * 1e-9) for clip in CLIPS])
    (error,) = refuse(run, "wrong_mos")
    assert [row[0] for row in rows_of(error["query"])] == [CLIPS[2]]


def test_score_that_is_nan_in_both_is_equal(tmp_path):
    scores = dict.fromkeys(CLIPS, 3.0) | {CLIPS[0]: NAN}
    run = plan_run(tmp_path, scores, corpus={"missing_mos": "nan"})
    run.shard([make_row(clip, mos=mos) for clip, mos in scores.items()])
    result = finish(run)
    assert result.nan["mos"] == 1
    assert [f.severity for f in find(result, "nan")] == ["info"]


def test_score_that_is_nan_needs_leave(tmp_path):
    run = plan_run(tmp_path, dict.fromkeys(CLIPS, NAN))
    run.shard([make_row(clip, mos=NAN) for clip in CLIPS])
    (error,) = refuse(run, "all_nan")
    assert "missing_mos" in error["message"]


@pytest.mark.parametrize(
    ("mos", "names"), [(0.99, ["outside"]), (5.01, ["outside"]), (float("inf"), ["outside", "infinite"])]
)
def test_score_outside_the_possible_is_refused(tmp_path, mos, names):
    run = plan_run(tmp_path, dict.fromkeys(CLIPS, 3.0) | {CLIPS[0]: mos})
    run.shard([make_row(clip, mos=mos if clip == CLIPS[0] else 3.0) for clip in CLIPS])
    errors = refuse(run, *names)
    assert all([row[0] for row in rows_of(error["query"])] == [CLIPS[0]] for error in errors)


def test_scores_at_the_limits_pass(tmp_path):
    scores = {"a": 1.0, "b": 5.0}
    run = plan_run(tmp_path, scores)
    run.shard([make_row(clip, mos=mos) for clip, mos in scores.items()])
    assert finish(run).published


# Several rows of one clip


def test_rows_equal_to_a_millionth_collapse_to_the_same_one_whoever_wrote_it(tmp_path):
    contents = []
    for order in ("vw", "wv"):
        run = plan_run(tmp_path / order, CLIPS)
        run.shard([make_row(clip) for clip in CLIPS], writer=order[0])
        run.shard([make_row(CLIPS[0], vmaf_mean=make_row(CLIPS[0])["vmaf_mean"] - 9e-7)], writer=order[1])
        result = finish(run)
        (finding,) = find(result, "duplicate")
        assert (finding.severity, finding.count) == ("info", 1)
        assert [row[:2] for row in rows_of(finding.query)] == [(CLIPS[0], 2)]
        contents.append(run.folder.table.read_bytes())
    assert contents[0] == contents[1]


def test_zeros_of_either_sign_collapse_to_the_same_bytes(tmp_path):
    contents = []
    for first, second in ((0.0, -0.0), (-0.0, 0.0)):
        run = plan_run(tmp_path / str(first), CLIPS)
        run.shard([make_row(clip, vmaf_std=first) for clip in CLIPS], writer="v")
        run.shard([make_row(clip, vmaf_std=second) for clip in CLIPS], writer="w")
        finish(run)
        contents.append(run.folder.table.read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("column", "change"),
    [("vmaf_mean", 2e-6), ("motion2_std", 1.0), ("width", 1), ("height", -1), ("cambi_mean", NAN)],
)
def test_rows_that_disagree_stop_the_merge(run, column, change):
    row = make_row(CLIPS[0])
    other = row | {column: row[column] + change}
    if column == "cambi_mean":
        other |= {"cambi_std": NAN}
    run.shard([make_row(clip) for clip in CLIPS])
    run.shard([other], writer="v")
    (error,) = refuse(run, "conflict")
    assert f"{CLIPS[0]}: {'cambi_mean; cambi_std' if column == 'cambi_mean' else column}" in error["message"]
    ((name, copies, columns, files),) = rows_of(error["query"])
    assert (name, copies, len(files)) == (CLIPS[0], 2, 2)
    assert column in columns


def test_three_rows_must_all_agree_with_each_other(run):
    row = make_row(CLIPS[0])
    run.shard([make_row(clip) for clip in CLIPS])
    for number in (1, 2):
        run.shard([row | {"vmaf_mean": row["vmaf_mean"] + number * 8e-7}], writer=f"v{number}")
    refuse(run, "conflict")


@pytest.mark.parametrize("late", ["v", "w"])
def test_latest_row_is_taken_on_demand_and_the_table_says_so(run, late):
    run.shard([make_row(clip, vmaf_std=1.0) for clip in CLIPS], writer="v")
    run.shard([make_row(CLIPS[0], vmaf_std=2.0)], writer="w")
    for writer in ("v", "w"):
        run.clip_log(CLIPS[:1], 5 if writer == late else 1, writer=writer)
    result = finish(run, on_conflict="latest")
    assert run.table()["vmaf_std"].to_pylist()[0] == (1.0 if late == "v" else 2.0)
    assert result.counts["conflicts"] == 1
    assert [f.severity for f in find(result, "conflict")] == ["warn"]
    metadata = json.loads(pq.read_metadata(run.folder.table).metadata[METADATA_KEY])
    assert metadata["conflicts"] == {"clips": 1, "taken": "latest"}


@pytest.mark.parametrize("minutes", [{"v": 3, "w": 3}, {"v": 9}, {}])
def test_where_time_does_not_decide_values_do(run, minutes):
    run.shard([make_row(clip, vmaf_std=2.0) for clip in CLIPS], writer="v")
    run.shard([make_row(CLIPS[0], vmaf_std=1.0)], writer="w")
    for writer, minute in minutes.items():
        run.clip_log(CLIPS[:1], minute, writer=writer)
    result = finish(run, on_conflict="latest")
    assert run.table()["vmaf_std"].to_pylist()[0] == 1.0
    assert "1 undecided by time" in find(result, "conflict")[0].message


def test_journal_tells_the_time_of_its_rows(run):
    run.shard([make_row(clip, vmaf_std=1.0) for clip in CLIPS], writer="v")
    run.clip_log(CLIPS[:1], -5, writer="v")
    run.journal([make_row(CLIPS[0], vmaf_std=2.0)], writer="w")
    result = finish(run, on_conflict="latest")
    assert run.table()["vmaf_std"].to_pylist()[0] == 2.0
    assert "0 undecided" in find(result, "conflict")[0].message


def damaged(run, writers, clip=CLIPS[0], repeatable=False):
    """Clip logs that say of a clip that another decode of it may give other values."""
    for writer in writers:
        run.log_clips({clip: 1.0}, writer=writer, repeatable=repeatable)


@pytest.mark.parametrize("writers", ["v", "w", "vw"])
@pytest.mark.parametrize("options", [{}, {"on_conflict": "latest"}])
def test_rows_of_a_clip_that_cannot_repeat_stop_no_merge(run, writers, options):
    run.shard([make_row(clip, vmaf_std=2.0) for clip in CLIPS], writer="v")
    run.shard([make_row(CLIPS[0], vmaf_std=1.0)], writer="w")
    damaged(run, writers)
    result = finish(run, **options)
    assert run.table()["vmaf_std"].to_pylist()[0] == 1.0  # by value: times and writers decide nothing
    assert (result.counts["conflicts"], result.counts["not_repeatable"]) == (0, 1)
    assert result.counts["duplicate_rows"] == 0
    (finding,) = find(result, "not_repeatable")
    assert (finding.severity, finding.count) == ("warn", 1)
    assert f"differ, because each decode conceals the damage in its own way: {CLIPS[0]}." in finding.message
    ((name, *_),) = rows_of(finding.query)
    assert name == CLIPS[0]
    assert "conflicts" not in json.loads(pq.read_metadata(run.folder.table).metadata[METADATA_KEY])
    assert "not repeatable   1 damaged clip: rows differ, one of each is taken" in summarise(result)


def test_a_clip_that_cannot_repeat_excuses_no_other(run):
    run.shard([make_row(clip, vmaf_std=2.0) for clip in CLIPS], writer="v")
    run.shard([make_row(clip, vmaf_std=1.0) for clip in CLIPS[:2]], writer="w")
    damaged(run, "v")
    (error,) = refuse(run, "conflict")
    assert (error["count"], CLIPS[1] in error["message"]) == (1, True)


@pytest.mark.parametrize("column", ["width", "height"])
def test_another_size_is_no_matter_of_damage(run, column):
    run.shard([make_row(clip) for clip in CLIPS], writer="v")
    row = make_row(CLIPS[0])
    run.shard([row | {column: row[column] + 1, "vmaf_std": 3.0}], writer="w")
    damaged(run, "vw")
    refuse(run, "conflict")


def test_equal_rows_of_a_clip_that_cannot_repeat_are_one_row(run):
    run.shard([make_row(clip) for clip in CLIPS], writer="v")
    run.shard([make_row(CLIPS[0])], writer="w")
    damaged(run, "vw")
    result = finish(run)
    assert (result.counts["duplicate_rows"], result.counts["not_repeatable"]) == (1, 0)
    assert find(result, "not_repeatable") == []


def test_a_journal_tells_that_its_row_cannot_repeat(run):
    run.shard([make_row(clip, vmaf_std=2.0) for clip in CLIPS], writer="v")
    run.clip_log(CLIPS, 1, writer="v")
    path = run.journal([make_row(CLIPS[0], vmaf_std=1.0)], writer="w")
    refuse(run, "conflict")
    lines, _ = read_checked(path)
    records = [json.loads(line) for line in lines]
    records[1]["log"]["repeatable"] = False
    path.write_bytes(b"".join(map(checked_line, records)))
    assert finish(run).counts["not_repeatable"] == 1


# Completeness


def test_missing_clips_stop_the_merge_with_their_last_failures(run):
    run.shard([make_row(clip) for clip in CLIPS[:7]])
    run.fail(CLIPS[8], "timeout", tries=3)
    run.fail(CLIPS[9], "decode_error", tries=1)
    run.fail(CLIPS[0], "decode_error", tries=2)
    (error,) = refuse(run, "missing")
    assert f"3 of 10 clips are missing: {CLIPS[7]}, {CLIPS[8]}, {CLIPS[9]}" in error["message"]
    assert f"timeout 1 (last: {CLIPS[8]}: cannot take {CLIPS[8]})" in error["message"]
    assert [row[0] for row in rows_of(error["query"])] == CLIPS[7:]


def test_missing_clips_may_be_allowed_and_the_table_says_so(run):
    run.shard([make_row(clip) for clip in CLIPS[:7]])
    run.fail(CLIPS[9])
    result = finish(run, allow_missing=True)
    assert (result.counts["missing"], result.counts["failed_for_good"], result.counts["rows"]) == (2, 1, 7)
    metadata = json.loads(pq.read_metadata(run.folder.table).metadata[METADATA_KEY])
    assert metadata["incomplete"] == {"missing": 2, "failed_for_good": 1}
    assert metadata["left_out"] == {CLIPS[7]: "missing", CLIPS[8]: "missing", CLIPS[9]: "decode_error"}


def test_few_clips_failed_for_good_are_published_without_and_counted(run):
    run.shard([make_row(clip) for clip in CLIPS[:9]])
    run.fail(CLIPS[9], "no_video")
    result = finish(run, max_failed_share=0.1)
    assert result.failed_classes == {"no_video": 1}
    assert result.failed_for_good == {CLIPS[9]: FailedClip("no_video", f"cannot take {CLIPS[9]}", 2, ("h1",))}
    assert [f.severity for f in find(result, "failed_for_good")] == ["warn"]
    metadata = json.loads(pq.read_metadata(run.folder.table).metadata[METADATA_KEY])
    assert metadata["incomplete"] == {"missing": 0, "failed_for_good": 1}
    assert metadata["left_out"] == {CLIPS[9]: "no_video"}


def test_too_many_clips_failed_for_good_stop_the_merge(run):
    run.shard([make_row(clip) for clip in CLIPS[:8]])
    run.fail(CLIPS[8])
    run.fail(CLIPS[9])
    (error,) = refuse(run, "failed_for_good", max_failed_share=0.1)
    assert "2 of 10 clips (20.000%)" in error["message"]
    assert [row[0] for row in rows_of(error["query"])] == CLIPS[8:]
    assert finish(run, max_failed_share=0.1, allow_missing=True).published


@pytest.mark.parametrize("clips", [3, 7, 11])
def test_the_share_that_is_told_for_clips_failed_for_good_publishes_without_them(tmp_path, clips):
    names = [f"{number:02}.mp4" for number in range(clips)]
    run = plan_run(tmp_path / "runs", names)
    run.shard([make_row(names[0])])
    for name in names[1:]:
        run.fail(name)
    (error,) = refuse(run, "failed_for_good")
    (told,) = re.findall(r"--max-failed-share ([\d.]+)\. ", error["message"])
    assert "plan another run (run.name), since a plan is final" in error["message"]
    assert finish(run, max_failed_share=float(told)).counts["failed_for_good"] == clips - 1


def test_fault_seen_on_one_of_two_hosts_is_not_for_good(run):
    run.shard([make_row(clip) for clip in CLIPS[:9]])
    run.take_part("h2")
    run.fail(CLIPS[9], host="h1")
    (error,) = refuse(run, "missing", max_failed_share=1)
    assert "vmafarm retry tries another" in error["message"]
    run.fail(CLIPS[9], host="h2")
    assert finish(run, max_failed_share=1).counts["failed_for_good"] == 1


def test_unreadable_clip_log_and_failures_are_told(run):
    run.shard([make_row(clip) for clip in CLIPS[:9]])
    run.clip_log(CLIPS, 1).write_bytes(b"PAR1")
    run.fail(CLIPS[9])
    assert find(finish(run, max_failed_share=1), "clip_log")
    (run.folder.failures / "z.jsonl").write_text('{"clip": 1}\nno JSON\n{"cut": ')
    (finding,) = find(finish(run, max_failed_share=1), "failures")
    assert (finding.severity, finding.count) == ("warn", 2)
    (run.folder.failures / "h1.jsonl").write_text("[]\n" * 9)
    refuse(run, "missing", max_failed_share=1)


# What gets between the writers and the merge


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"manifest": "sha256:other"}, "manifest: found 'sha256:other', expected 'sha256:"),
        ({"plan": "full"}, "plan: found 'full', expected 'identity'"),
        ({"engine": "vmaf"}, "engine: found 'vmaf', expected 'ffmpeg'"),
        ({"engine_version": "8"}, "engine_version: found '8', expected '9'"),
        ({"backend": "cuda"}, "backend: found 'cuda', expected 'cpu'"),
        ({"schema_version": 2}, "schema_version: found 2, expected 1"),
    ],
)
def test_shard_of_another_run_plan_or_engine_is_named_with_what_differs(run, changed, told):
    run.shard([make_row(clip) for clip in CLIPS])
    run.shard([make_row(CLIPS[0])], writer="v", provenance=Provenance(**(vars(run.provenance) | changed)))
    (error,) = refuse(run, "provenance")
    assert f"slice-00000/v.parquet: {told}" in error["message"]


@pytest.mark.parametrize("of", ["shards", "slice"])
def test_folder_called_like_a_shard_is_told_and_its_rows_are_not_taken(run, of):
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


# Columns


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("infinite", {"vmaf_mean": float("inf")}),
        ("infinite", {"vmaf_std": float("-inf")}),
        ("unpaired", {"motion3_std": NAN}),
        ("unpaired", {"motion3_mean": NAN}),
        ("negative_std", {"vmaf_std": -1e-12}),
        ("not_all_nan", {"ciede2000_mean": 90.0, "ciede2000_std": 1.0}),
        ("not_constant", {"psnr_y_mean": 60.5}),
        ("not_constant", {"psnr_y_std": 1e-9}),
        ("not_constant", {"float_ms_ssim_mean": 0.9999}),
        ("too_small", {"height": 17}),
    ],
)
def test_row_that_breaks_a_rule_is_shown(run, rule, values):
    rows = [make_row(clip) for clip in CLIPS]
    rows[6] |= values
    run.shard(rows)
    with pytest.raises(IncompleteError):
        finish(run)
    findings = json.loads(run.folder.merge_record.read_text())["findings"]
    (error,) = [f for f in findings if f["name"] == rule and f["severity"] == "error"]
    assert [row[0] for row in rows_of(error["query"])] == [CLIPS[6]]
    assert error["count"] == 1


def test_all_reasons_are_told_at_once(run):
    run.shard([make_row(clip, vmaf_std=-1.0) for clip in CLIPS[:5]])
    refuse(run, "missing", "negative_std")


def test_columns_that_are_nan_on_identity_pairs_are_flagged_as_expected(run):
    run.shard([make_row(clip) for clip in CLIPS])
    flagged = [f.message.split(" ")[0] for f in find(finish(run), "all_nan")]
    assert flagged == ["ciede2000_mean", "ciede2000_std", "psnr_hvs_mean", "psnr_hvs_std"]


@pytest.mark.parametrize("mos", ["error", "nan"])
def test_what_is_nan_in_all_rows_is_summed_up_by_columns(tmp_path, mos):
    scores = dict.fromkeys(CLIPS, NAN if mos == "nan" else 3.0)
    run = plan_run(tmp_path, scores, corpus={"missing_mos": mos})
    run.shard([make_row(clip, mos) for clip, mos in scores.items()])
    lines = summarise(finish(run))
    (at,) = (at for at, line in enumerate(lines) if line.startswith("as expected "))
    told = " ".join(" ".join(lines[at : at + 2]).split())
    columns = "ciede2000_mean, ciede2000_std, psnr_hvs_mean, psnr_hvs_std"
    assert told == f"as expected NaN in all rows: {'mos, ' if mos == 'nan' else ''}{columns}"


def test_column_that_is_nan_in_every_row_is_refused(run):
    run.shard([make_row(clip, motion2_mean=NAN, motion2_std=NAN) for clip in CLIPS])
    errors = refuse(run, "all_nan", "all_nan")
    assert "motion2_mean is NaN in all 10 rows" in errors[0]["message"]


def test_one_nan_of_ssimulacra2_is_refused(tmp_path):
    run = plan_run(tmp_path, CLIPS, constant=())
    rows = [make_row(clip) for clip in CLIPS]
    rows[0] |= {"ssimulacra2_mean": NAN, "ssimulacra2_std": NAN}
    run.shard(rows)
    errors = refuse(run, "nan", "nan")
    assert [row[0] for row in rows_of(errors[0]["query"])] == [CLIPS[0]]


def test_small_clips_have_no_ms_ssim_and_no_cambi(run):
    run.shard([make_row(clip, width=160, height=120) for clip in CLIPS])
    result = finish(run)
    flagged = {f.message.split(" ")[0] for f in find(result, "all_nan")}
    assert {"cambi_mean", "float_ms_ssim_std"} < flagged
    assert not find(result, "unexpected_nan")


@pytest.mark.parametrize(("width", "height"), [(4096, 2160), (1920, 144), (144, 1920)])
def test_clips_of_sizes_that_cambi_refuses_have_none(run, width, height):
    run.shard([make_row(clip, width=width, height=height) for clip in CLIPS])
    result = finish(run)
    said = {f.message for f in find(result, "all_nan")}
    assert "cambi_std is NaN in all 10 rows: as expected, no clip has a size that it takes" in said
    assert not find(result, "unexpected_nan")


def test_one_large_clip_without_cambi_is_no_small_clip(run):
    rows = [make_row(clip, width=160, height=120) for clip in CLIPS[1:]]
    run.shard([*rows, make_row(CLIPS[0], cambi_mean=NAN, cambi_std=NAN)])
    assert [finding.severity for finding in find(finish(run), "all_nan")].count("warn") == 2


def test_an_extractor_that_was_left_out_of_each_clip_is_told_and_blocks_nothing(run):
    run.shard([make_row(clip, cambi_mean=NAN, cambi_std=NAN) for clip in CLIPS])
    result = finish(run)
    assert {finding.column for finding in find(result, "all_nan") if finding.severity == "warn"} == {
        "cambi_mean", "cambi_std"
    }  # fmt: skip
    assert not any("as expected" in line and "cambi" in line for line in summarise(result))


def test_constant_of_a_clip_that_is_too_small_is_nan(run):
    rows = [make_row(clip) for clip in CLIPS]
    rows[0] = make_row(CLIPS[0], width=160, height=120, float_ms_ssim_mean=1.0, float_ms_ssim_std=0.0)
    run.shard(rows)
    (error,) = refuse(run, "not_constant")
    assert [row[0] for row in rows_of(error["query"])] == [CLIPS[0]]


def test_constants_of_ten_bits_pass(run):
    rows = [make_row(clip) for clip in CLIPS]
    rows[0] |= {f"psnr_{plane}_mean": 72.0 for plane in ("y", "cb", "cr")}
    run.shard(rows)
    assert finish(run).published


def test_measured_features_need_not_be_constant(tmp_path):
    run = plan_run(tmp_path, CLIPS, constant=())
    run.shard([make_row(clip, psnr_y_mean=61.0, psnr_y_std=0.5) for clip in CLIPS])
    assert finish(run).published


# The report, and what is in the way


def test_report_has_all_counts(tmp_path):
    run = plan_run(tmp_path, CLIPS, slices=3)
    for number in range(2):
        run.shard([make_row(clip) for clip in CLIPS[number::3]], number)
    result = finish(run, allow_missing=True)
    report = json.loads(run.folder.merge_record.read_text())
    assert report == json.loads(json.dumps(result.as_dict()))
    assert report["counts"] == {
        "clips": 10, "rows": 7, "shards": 2, "journals": 0, "recovered_rows": 0, "torn_lines": 0,
        "duplicate_rows": 0, "conflicts": 0, "not_repeatable": 0, "missing": 3, "failed_for_good": 0,
    }  # fmt: skip
    assert report["slices"] == {"slices": 3, "empty": 1, "partial": 0, "fewest_rows": 0, "most_rows": 4}
    assert report["nan"].keys() == {"mos", *FEATURE_COLUMNS}
    assert report["nan"]["ciede2000_std"] == 7


def test_summary_fits_a_terminal_and_names_the_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = plan_run(Path("runs"), CLIPS)
    run.shard([make_row(clip, vmaf_std=2.0) for clip in CLIPS[:6]])
    run.shard([make_row(CLIPS[0], vmaf_std=2.0), make_row(CLIPS[1])], writer="v")
    run.journal([make_row(CLIPS[6])], writer="x")
    run.fail(CLIPS[9])
    lines = summarise(finish(run, allow_missing=True, on_conflict="latest"))
    assert all(len(line) <= 80 for line in lines)
    text = "\n".join(lines)
    assert lines[0] == "rows             7 of 10 clips, 48 columns"
    assert "".join(lines).count(f"{CLIPS[9]}: decode_error") == 1
    assert lines[-1] == "table            runs/full_features_demo.parquet"
    for part in (
        "1 equal row collapsed",
        "1 clip: the latest",
        "1 row from journals",
        "2 clips, published without",
        "1 clip: decode_error 1",
        "psnr_hvs_std",
        "warnings",
    ):
        assert part in text


def test_too_little_memory_is_told(run):
    run.shard([make_row(clip) for clip in CLIPS])
    config = run.config.model_copy(update={"merge": run.config.merge.model_copy(update={"memory": "1KB"})})
    with pytest.raises(UnavailableError, match=r"merge.memory = 1KB"):
        merge(run.folder, config)
    assert not run.folder.table.exists()


def test_no_space_for_the_table_is_told_and_nothing_is_left(run, monkeypatch):
    run.shard([make_row(clip) for clip in CLIPS])

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(UnavailableError, match="No space left"):
        finish(run)
    assert [path.name for path in run.folder.root.iterdir()] == ["demo"]


def test_journal_that_vanishes_has_been_flushed_by_its_writer(run, tmp_path):
    gone = run.folder.shard_folder(0) / "w.journal"
    recovered = recover([gone], tmp_path, run.provenance, run.folder.shards, 100)
    assert (recovered.rows, recovered.findings) == (0, [])


def test_journal_beside_a_cut_shard_of_its_writer_does_not_hide_the_shard(run):
    rows = [make_row(clip) for clip in CLIPS]
    run.shard(rows).write_bytes(b"PAR1")
    run.journal(rows)
    refuse(run, "unreadable_shard")


def change_during(monkeypatch, change, *, then=TableWriter.write) -> list[Merge]:
    """Have shards change after their seals were checked, before they are scanned; returns the attempts."""
    attempts = []
    write = Merge._write

    def late(self: Merge, writer: TableWriter, **options: bool) -> Written:
        attempts.append(self)
        change(len(attempts))
        with monkeypatch.context() as patch:
            patch.setattr(TableWriter, "write", then if len(attempts) == 1 else TableWriter.write)
            return write(self, writer, **options)

    monkeypatch.setattr(Merge, "_write", late)
    return attempts


def broken(*_: object, **__: object) -> Written:
    """What DuckDB says to the footer of one version of a file with the bytes of another."""
    raise duckdb.Error("TProtocolException: Invalid data")


@pytest.mark.parametrize("then", [TableWriter.write, broken])
@pytest.mark.parametrize("before", [0, 2])
def test_a_shard_that_grows_during_the_merge_is_merged_again(run, monkeypatch, before, then):
    run.shard([make_row(clip) for clip in CLIPS])
    finish(run)
    expected = run.folder.table.read_bytes()
    run.folder.table.unlink()
    run.shard([make_row(clip) for clip in CLIPS[:before]], writer="late")

    def grow(attempt: int) -> None:
        if attempt == 1:
            run.shard([make_row(clip) for clip in CLIPS[: before + 1]], writer="late")

    attempts = change_during(monkeypatch, grow, then=then)
    finish(run)
    assert len({*attempts}) == 2
    assert run.folder.table.read_bytes() == expected


def test_a_shard_in_place_of_an_equal_one_is_noticed_too(run, monkeypatch):
    """Its footer and bytes may have been read from either: sizes, rows and values say nothing of that."""
    path = run.shard([make_row(clip) for clip in CLIPS])

    def replace(attempt: int) -> None:
        if attempt == 1:
            copy = path.with_name(".copy")
            shutil.copy2(path, copy)
            os.replace(copy, path)

    attempts = change_during(monkeypatch, replace)
    finish(run)
    assert len(attempts) == 2


def test_shards_that_change_all_the_time_are_not_published(run, monkeypatch):
    run.shard([make_row(clip) for clip in CLIPS])
    run.shard([], writer="late")
    attempts = change_during(
        monkeypatch, lambda attempt: run.shard([make_row(clip) for clip in CLIPS[:attempt]], writer="late")
    )
    (error,) = refuse(run, "changed")
    assert "late.parquet" in error["message"]
    assert len({*attempts}) == 3


def test_missing_clips_of_a_run_that_is_at_work_are_told_at_once(run, monkeypatch):
    run.shard([make_row(CLIPS[0])])
    attempts = change_during(monkeypatch, lambda _: run.shard([make_row(clip) for clip in CLIPS[:2]]))
    refuse(run, "changed", "missing")
    assert len(attempts) == 1


def test_merges_beside_a_writer_that_never_rests_publish_the_table_or_say_why_not(run, tmp_path):
    beside = plan_run(tmp_path / "drafts", CLIPS)
    run.shard([make_row(clip) for clip in CLIPS])
    finish(run)
    expected = run.folder.table.read_bytes()
    done = threading.Event()

    def work() -> None:
        for rows in itertools.cycle(range(len(CLIPS) + 1)):
            draft = beside.shard([make_row(clip) for clip in CLIPS[:rows]])
            draft.replace(run.folder.shard_folder(0) / "late.parquet")
            if done.is_set():
                break

    with ThreadPoolExecutor(1) as other:
        writer = other.submit(work)
        outcomes = []
        try:
            for _ in range(15):
                run.folder.table.unlink(missing_ok=True)
                try:
                    finish(run)
                    outcomes.append(run.folder.table.read_bytes())
                except IncompleteError as error:
                    outcomes.append("[changed]" in error.message)
        finally:
            done.set()
            writer.result()
    assert {*outcomes} <= {expected, True}


def test_an_error_that_no_change_explains_is_raised(run, monkeypatch):
    run.shard([make_row(clip) for clip in CLIPS])
    change_during(monkeypatch, lambda _: None, then=broken)
    with pytest.raises(duckdb.Error, match="Invalid data"):
        merge(run.folder, run.config)
