"""Shards: a row that was appended is never lost, whatever happens at whatever moment."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.shard_helpers import (
    PROVENANCE,
    SLICE,
    Writer,
    done_names,
    files,
    make_entry,
    make_row,
    names,
    path_of,
    rows_in,
    same,
    union,
)

from vmafarm.common.errors import UnavailableError
from vmafarm.disk.jsonl import checked_line, read_checked
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import METADATA_KEY, Provenance
from vmafarm.schema.features import ARROW_SCHEMA, COLUMNS, FEATURE_COLUMNS
from vmafarm.shards import writer as shard
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA
from vmafarm.shards.journal import read_journal
from vmafarm.shards.writer import read_done

EVIL = [
    'it\'s "quoted".mp4',
    "'); DROP TABLE features; --.mp4",
    "line\nend\r\n.mp4",
    "{{ 7*7 }}{% raw %}.mp4",
    "a/b/../c.mp4",
    "-rf",
    "😀 \u2028 \x85 \x00 \\.mp4",
    "",
    "x" * 300,
]


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path, "r")


def read_written(folders, row, entry):
    """What is read of a journal with this one row."""
    path = folders.getbasetemp() / f"written-{os.getpid()}.journal"
    record = {
        "row": {key: shard._to_json(value) for key, value in row.items()},
        "log": {**entry, "finished_at": entry["finished_at"].isoformat()},
    }
    path.write_bytes(checked_line(record))
    journal = read_journal(path)
    assert not journal.wrong
    return journal.rows


def test_a_finished_shard_has_exactly_the_schema_and_its_provenance(folder):
    writer = Writer(folder)
    writer.add("c0", "c1")
    writer.close()
    file = pq.ParquetFile(path_of(folder, "parquet"))
    assert file.schema_arrow.equals(
        ARROW_SCHEMA.with_metadata(file.schema_arrow.metadata), check_metadata=True
    )
    assert file.metadata.metadata[METADATA_KEY] == PROVENANCE.as_json().encode()
    assert file.metadata.num_columns == 48
    assert {file.metadata.row_group(0).column(i).compression for i in range(48)} == {"ZSTD"}
    table = file.read()
    table.validate(full=True)
    assert all(table.column(name).null_count == 0 for name in COLUMNS)


def test_closing_leaves_the_shard_and_the_hint_and_nothing_else(folder):
    writer = Writer(folder)
    writer.add("c0")
    assert files(folder) == ["w.done", "w.journal"]
    writer.close()
    assert files(folder) == ["w.done", "w.parquet"]
    assert os.listdir(folder.clip_logs) == [folder.clip_log(SLICE, "w").name]


def test_closing_without_a_row_leaves_no_shard(folder):
    Writer(folder).close()
    assert files(folder) == ["w.done"]
    assert read_done(folder, [SLICE]) == set()


def test_rows_come_back_to_the_bit_and_nan_stays_nan(folder):
    writer = Writer(folder)
    row = make_row("c0") | {
        "mos": math.nan, "vmaf_mean": 0.1 + 0.2, "vmaf_std": -0.0, "cambi_mean": 5e-324,
        "cambi_std": 1.7976931348623157e308, "motion_mean": np.float64(1 / 3),
    }  # fmt: skip
    writer.append(row, make_entry("c0"))
    [from_journal] = union(folder).values()
    writer.close()
    [from_shard] = union(folder).values()
    expected = {name: float(v) if isinstance(v, float) else v for name, v in row.items()}
    assert same(from_journal, expected)
    assert same(from_shard, expected)
    column = pq.ParquetFile(path_of(folder, "parquet")).read().column("ciede2000_mean")
    assert column.null_count == 0
    assert math.isnan(column[0].as_py())


def test_the_footer_has_statistics_of_names_and_of_no_float(folder):
    writer = Writer(folder)
    writer.add("c0", "c1")
    writer.close()
    for path, schema in (
        (path_of(folder, "parquet"), ARROW_SCHEMA),
        (folder.clip_log(SLICE, "w"), CLIP_LOG_SCHEMA),
    ):
        group = pq.ParquetFile(path).metadata.row_group(0)
        for i in range(group.num_columns):
            column = group.column(i)
            if pa.types.is_floating(schema.field(column.path_in_schema).type):
                assert not column.is_stats_set, column.path_in_schema
        statistics = group.column(0).statistics
        assert (statistics.min, statistics.max) == ("c0", "c1")


def test_the_clip_log_has_what_was_appended(folder):
    writer = Writer(folder, flush_every=2)
    entries = [make_entry(name, i) for i, name in enumerate(names(3))]
    entries[2]["finished_at"] = datetime(2026, 1, 1, 1, 0, 0, tzinfo=timezone(timedelta(hours=5)))
    for i, entry in enumerate(entries):
        writer.append(make_row(entry["clip_name"], i), entry)
    writer.close()
    table = pq.ParquetFile(folder.clip_log(SLICE, "w")).read()
    assert table.schema.equals(CLIP_LOG_SCHEMA)
    assert table.to_pylist() == entries


def test_every_so_many_rows_the_shard_is_put_in_place(folder):
    writer = Writer(folder, flush_every=3)
    sizes = []
    for name in names(8):
        writer.add(name)
        sizes.append(len(rows_in(path_of(folder, "parquet"))) if path_of(folder, "parquet").exists() else 0)
    assert sizes == [0, 0, 3, 3, 3, 6, 6, 6]
    assert files(folder) == ["w.done", "w.journal", "w.parquet"]
    writer.close()
    assert list(rows_in(path_of(folder, "parquet"))) == names(8)


def test_flushing_without_a_new_row_writes_nothing(folder):
    writer = Writer(folder)
    writer.add("c0")
    writer.flush()
    before = path_of(folder, "parquet").stat()
    writer.flush()
    writer.close()
    assert path_of(folder, "parquet").stat().st_ino == before.st_ino


def test_the_journal_begins_with_the_provenance(folder):
    Writer(folder).add("c0")
    lines, torn = read_checked(path_of(folder, "journal"))
    records = [json.loads(line) for line in lines]
    assert records[0] == {"provenance": PROVENANCE.as_dict()}
    assert Provenance.from_dict(records[0]["provenance"]) == PROVENANCE
    assert [set(record) for record in records[1:]] == [{"row", "log"}]
    assert torn == 0


def test_a_name_is_done_only_after_its_row_is_synced(folder, monkeypatch):
    writer = Writer(folder)
    seen = []

    def suffix(descriptor):
        return Path(f"/proc/self/fd/{descriptor}").readlink().suffix

    def write(descriptor, data, real=os.write):
        if suffix(descriptor) == ".done":
            assert json.loads(bytes(data)) in union(folder)
        seen.append(("write", suffix(descriptor)))
        return real(descriptor, data)

    def fsync(descriptor, real=os.fsync):
        seen.append(("fsync", suffix(descriptor)))
        real(descriptor)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "fsync", fsync)
    writer.add("c0", "c1")
    assert seen == [("write", ".journal"), ("fsync", ".journal"), ("write", ".done")] * 2


def test_the_journal_goes_only_after_the_shard_has_all_rows(folder, monkeypatch):
    writer = Writer(folder)
    writer.add(*names(5))
    there = []

    def unlink(path, real=os.unlink):
        there.append((path.name, list(rows_in(path_of(folder, "parquet")))))
        real(path)

    monkeypatch.setattr(os, "unlink", unlink)
    writer.close()
    assert there == [("w.journal", names(5))]


def test_at_every_step_each_row_that_was_appended_is_on_disk(folder, tmp_path, monkeypatch):
    """What a kill leaves is what stands in the files between two calls of the system."""
    appended = []
    looked = []
    looking = []

    def look():
        copy = RunFolder(tmp_path / f"killed-{len(looked)}", "r")
        shutil.copytree(folder.path, copy.path)
        rows = union(copy)
        done = read_done(copy, [SLICE])
        assert done == set(rows)
        assert set(appended) <= done
        assert set(done_names(copy)) <= done
        assert len(done) <= len(appended) + 1
        for name, row in rows.items():
            assert same(row, make_row(name, int(name[1:])))
        looked.append(len(rows))

    def stop_and_look(real, *arguments, **options):
        if looking:
            return real(*arguments, **options)
        looking.append(True)
        look()
        result = real(*arguments, **options)
        look()
        looking.clear()
        return result

    writer = Writer(folder, flush_every=2)
    for call in ("write", "fsync", "replace", "unlink"):
        monkeypatch.setattr(os, call, partial(stop_and_look, getattr(os, call)))
    for name in names(5):
        writer.add(name)
        appended.append(name)
    writer.close()
    monkeypatch.undo()
    look()
    assert len(looked) > 50
    assert looked[-1] == 5


KILLED = [(1, 4), (4, 4), (6, 4), (5, 1)]
"""Rows that a writer appends before it is killed, and rows between two of its flushes."""


def test_rows_survive_a_kill_between_flushes(tmp_path):
    script = f"""
        import os, signal
        from pathlib import Path
        from support.shard_helpers import Writer, names
        from vmafarm.run_folder.paths import RunFolder
        for count, flush_every in {KILLED}:
            if (child := os.fork()) == 0:
                writer = Writer(RunFolder(Path({str(tmp_path)!r}), f"r{{count}}"), flush_every=flush_every)
                writer.add(*names(count))
                os.kill(os.getpid(), signal.SIGKILL)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    for count, flush_every in KILLED:
        folder = RunFolder(tmp_path, f"r{count}")
        assert read_done(folder, [SLICE]) == set(names(count)) == set(done_names(folder))
        assert all(same(row, make_row(name, int(name[1:]))) for name, row in union(folder).items())
        assert path_of(folder, "journal").exists()
        assert path_of(folder, "parquet").exists() == (count >= flush_every)


def test_two_writers_on_one_slice_touch_only_their_own_files(folder):
    one, two = Writer(folder, "one", 2), Writer(folder, "two", 3)
    one.add("c0", "c1", "c2")
    two.add("c1", "c2", "c3", "c4")
    before = {name: (folder.shard_folder(SLICE) / name).read_bytes() for name in files(folder)}
    two.close()
    for name in ("one.done", "one.journal", "one.parquet"):
        assert (folder.shard_folder(SLICE) / name).read_bytes() == before[name]
    assert read_done(folder, [SLICE]) == {"c0", "c1", "c2", "c3", "c4"}
    two_bytes = path_of(folder, "parquet", "two").read_bytes()
    one.add("c5")
    one.close()
    assert path_of(folder, "parquet", "two").read_bytes() == two_bytes
    assert files(folder) == ["one.done", "one.parquet", "two.done", "two.parquet"]
    assert read_done(folder, [SLICE]) == {"c0", "c1", "c2", "c3", "c4", "c5"}


def test_evil_names_are_data(folder):
    writer = Writer(folder, flush_every=4)
    writer.add(*EVIL)
    assert read_done(folder, [SLICE]) == set(EVIL)
    assert done_names(folder) == EVIL
    assert path_of(folder, "done").read_bytes().count(b"\n") == len(EVIL)
    writer.close()
    assert read_done(folder, [SLICE]) == set(EVIL)
    assert list(rows_in(path_of(folder, "parquet"))) == EVIL
    assert sorted(os.listdir(folder.root)) == ["r"]


@pytest.mark.parametrize("column", ["mos", "vmaf_mean", "motion_std"])
@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinite_value_is_refused_before_anything_is_written(folder, column, value):
    writer = Writer(folder)
    writer.add("c0")
    before = {name: (folder.shard_folder(SLICE) / name).read_bytes() for name in files(folder)}
    with pytest.raises(ValueError, match="infinite"):
        writer.append(make_row("c1") | {column: value}, make_entry("c1"))
    assert {name: (folder.shard_folder(SLICE) / name).read_bytes() for name in files(folder)} == before
    writer.add("c2")
    writer.close()
    assert read_done(folder, [SLICE]) == {"c0", "c2"}


def test_a_row_without_one_of_the_columns_is_refused_and_one_too_many_is_left_out(folder):
    writer = Writer(folder)
    row = make_row("c0")
    del row["vmaf_std"]
    with pytest.raises(KeyError, match="vmaf_std"):
        writer.append(row, make_entry("c0"))
    writer.append(make_row("c1") | {"extra": 1}, make_entry("c1"))
    writer.close()
    assert list(rows_in(path_of(folder, "parquet"))["c1"]) == list(COLUMNS)


@pytest.fixture
def full_disk(monkeypatch):
    """Makes one kind of file refuse: `full_disk(suffix)`; `full_disk(None)` ends that."""
    state = {"suffix": None}

    def refuse(descriptor):
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        if state["suffix"] and f".{state['suffix']}" in name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(descriptor, data, real=os.write):
        refuse(descriptor)
        return real(descriptor, data)

    def fsync(descriptor, real=os.fsync):
        refuse(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "fsync", fsync)
    return lambda suffix: state.update(suffix=suffix)


@pytest.mark.parametrize("closed_with_space", [True, False])
@pytest.mark.parametrize("suffix", ["journal", "done", "parquet"])
def test_on_a_full_disk_no_row_that_is_done_is_lost(folder, full_disk, suffix, closed_with_space):
    writer = Writer(folder, flush_every=2)
    writer.add("c0")
    full_disk(suffix)
    with pytest.raises(UnavailableError, match="no space left"):
        writer.add("c1")
    if closed_with_space:
        full_disk(None)
        writer.close()
        assert not path_of(folder, "journal").exists()
    elif suffix == "parquet":
        with pytest.raises(UnavailableError):
            writer.close()
        assert path_of(folder, "journal").exists()
    # Of a row that is in the journal nothing but the hint may be missing.
    assert read_done(folder, [SLICE]) == ({"c0"} if suffix == "journal" else {"c0", "c1"})
    assert set(done_names(folder)) <= read_done(folder, [SLICE])
    assert not list(folder.path.glob("**/*.tmp"))


def test_after_a_flush_that_failed_the_next_one_has_all_rows(folder, full_disk):
    writer = Writer(folder, flush_every=2)
    writer.add("c0")
    full_disk("parquet")
    with pytest.raises(UnavailableError):
        writer.add("c1")
    full_disk(None)
    writer.add("c2")
    assert list(rows_in(path_of(folder, "parquet"))) == ["c0", "c1", "c2"]


def test_a_writer_that_has_closed_leaves_no_descriptor_open(folder):
    before = len(os.listdir("/proc/self/fd"))
    for i in range(5):
        writer = Writer(folder, f"w{i}", flush_every=1)
        writer.add("c0", "c1")
        writer.close()
    assert len(os.listdir("/proc/self/fd")) == before


finite_or_nan = st.floats(allow_infinity=False)


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(finite_or_nan, min_size=len(FEATURE_COLUMNS), max_size=len(FEATURE_COLUMNS)),
    finite_or_nan,
)
def test_a_row_survives_json_to_the_bit(tmp_path_factory, name, values, mos):
    row = {"clip_name": name, "mos": mos, "width": 960, "height": 540} | dict(
        zip(FEATURE_COLUMNS, values, strict=True)
    )
    ((read, _),) = read_written(tmp_path_factory, row, make_entry(name))
    assert list(read) == list(COLUMNS)
    for key, value in row.items():
        if isinstance(value, float) and not math.isnan(value):
            assert struct.pack("d", read[key]) == struct.pack("d", value)
        else:
            assert repr(read[key]) == repr(value)


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2199, 1, 1), timezones=st.timezones()),  # noqa: DTZ001
    st.floats(0, 1e9),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_a_clip_log_entry_survives_json(tmp_path_factory, at, seconds, notes):
    entry = make_entry("c0") | {"finished_at": at, "seconds_scoring": seconds, "notes": notes}
    ((_, read),) = read_written(tmp_path_factory, make_row("c0"), entry)
    assert read == entry | {"finished_at": read["finished_at"]}
    assert read["finished_at"].tzinfo is UTC
    assert read["finished_at"] - at == timedelta(0)
