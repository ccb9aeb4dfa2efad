"""Which clips are done is read of shards and journals, whatever others have done to them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.shard_helpers import PROVENANCE, SLICE, Writer, make_entry, make_row, path_of

from vmafarm.disk.sealed_parquet import write_sealed
from vmafarm.run_folder.paths import RunFolder
from vmafarm.shards import writer as shard
from vmafarm.shards.writer import DoneReader, ShardWriter, read_done


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path, "r")


def test_done_is_read_of_the_slices_that_are_asked_for(folder):
    for slice_id, name in ((1, "a"), (2, "b"), (3, "c")):
        writer = ShardWriter(folder, slice_id, "w", PROVENANCE, 1)
        writer.append(make_row(name), make_entry(name))
    assert read_done(folder, [1, 3]) == {"a", "c"}
    assert read_done(folder, [4]) == set()
    assert read_done(folder, []) == set()


def two_journals(folder):
    """A writer's journal, which has ca, and another one, which has cb; both of the same size and time."""
    Writer(folder).add("ca")
    path = path_of(folder, "journal")
    Writer(folder, "other").add("cb")
    other = path_of(folder, "journal", "other").rename(folder.path / "other")
    assert other.stat().st_size == path.stat().st_size
    os.utime(path, ns=(10**18, 10**18))
    os.utime(other, ns=(10**18, 10**18))
    return path, other


def test_a_reader_that_looks_again_sees_a_file_that_was_put_in_the_place_of_its_like(folder):
    path, other = two_journals(folder)
    reader = DoneReader()
    assert reader.read(folder, [SLICE]) == {"ca"}
    other.replace(path)
    assert reader.read(folder, [SLICE]) == {"cb"}


def test_a_reader_that_looks_again_sees_a_file_that_was_written_anew(folder):
    path, other = two_journals(folder)
    reader = DoneReader()
    assert reader.read(folder, [SLICE]) == {"ca"}
    with path.open("r+b") as file:  # the same file, of the same size
        file.write(other.read_bytes())
    os.utime(path, ns=(10**18 + 1, 10**18 + 1))
    assert reader.read(folder, [SLICE]) == {"cb"}


def test_a_reader_that_looks_again_reads_no_file_twice_that_has_not_changed(folder, monkeypatch):
    path, _ = two_journals(folder)
    reader = DoneReader()
    assert reader.read(folder, [SLICE]) == {"ca"}
    monkeypatch.setattr(shard, "read_journal", lambda path: pytest.fail(f"read {path} again"))
    assert reader.read(folder, [SLICE]) == {"ca"}
    os.truncate(path, path.stat().st_size + 1)
    os.utime(path, ns=(10**18, 10**18))
    with pytest.raises(pytest.fail.Exception, match="again"):
        reader.read(folder, [SLICE])


def test_a_shard_that_somebody_cut_is_read_as_not_done_and_the_others_are_read(folder):
    for writer, name in (("whole", "c0"), ("cut", "c1")):
        made = Writer(folder, writer)
        made.add(name)
        made.close()
    path = path_of(folder, "parquet", "cut")
    content = path.read_bytes()
    for length in (0, 1, 4, 100, len(content) // 2, len(content) - 9, len(content) - 1):
        path.write_bytes(content[:length])
        assert read_done(folder, [SLICE]) == {"c0"}
    path.write_bytes(b"\0" * len(content))
    assert read_done(folder, [SLICE]) == {"c0"}


def test_a_shard_with_a_flipped_bit_is_read_as_not_done(folder):
    made = Writer(folder)
    made.add(*(f"clip é {i}.mp4" for i in range(20)))
    made.close()
    path = path_of(folder, "parquet")
    content = path.read_bytes()
    offsets = np.random.default_rng(1).integers(0, len(content) * 8, 100).tolist()
    [names_at] = [c.data_page_offset for c in [pq.ParquetFile(path).metadata.row_group(0).column(0)]]
    for bit in [*offsets, *range(names_at * 8, (names_at + 150) * 8, 7)]:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert read_done(folder, [SLICE]) == set()


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"name": ["c0"]}),
        pa.table({"clip_name": [1, 2]}),
        pa.table({"clip_name": pa.nulls(2)}),
        pa.table({"clip_name": [["c0"]]}),
    ],
)
def test_a_shard_of_another_shape_is_read_as_not_done(folder, table):
    folder.shard_folder(SLICE).mkdir(parents=True)
    with path_of(folder, "parquet").open("wb") as file:
        write_sealed(table, file)
    assert read_done(folder, [SLICE]) == set()


def test_rows_that_no_writer_has_sealed_are_read_as_not_done(folder):
    made = Writer(folder)
    made.add("c0")
    made.close()
    pq.write_table(pq.read_table(path_of(folder, "parquet")), path_of(folder, "parquet"))
    assert read_done(folder, [SLICE]) == set()


def test_of_a_journal_cut_at_any_byte_the_whole_rows_are_done(folder):
    writer = Writer(folder)
    writer.add("c0", "c1")
    path = path_of(folder, "journal")
    before_last = path.stat().st_size
    writer.add("c2")
    content = path.read_bytes()
    for length in [*range(0, before_last, 97), *range(before_last, len(content), 13), len(content) - 1]:
        path.write_bytes(content[:length])
        done = read_done(folder, [SLICE])
        assert done == {"c0", "c1"} if length >= before_last else done <= {"c0", "c1"}


def test_a_temporary_file_of_a_killed_writer_is_no_shard(folder):
    writer = Writer(folder)
    writer.add("c0")
    writer.close()
    shard_bytes = path_of(folder, "parquet").read_bytes()
    path_of(folder, "parquet").rename(folder.shard_folder(SLICE) / ".w.parquet.123.abcd.tmp")
    assert shard_bytes
    assert read_done(folder, [SLICE]) == set()


@pytest.mark.parametrize("listing", [1, 2])
def test_rows_are_seen_while_their_writer_ends(folder, monkeypatch, listing):
    writer = Writer(folder)
    writer.add("c0")
    listings = []

    def iterdir(path, real=Path.iterdir):
        listings.append(path)
        if len(listings) == listing:
            writer.close()
        return list(real(path))

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert read_done(folder, [SLICE]) == {"c0"}
    assert len(listings) == 2


def test_rows_are_seen_when_a_journal_goes_after_it_was_listed(folder, monkeypatch):
    writer = Writer(folder)
    writer.add("c0")

    def late(path, real=shard.read_journal):
        writer.close()
        return real(path)

    monkeypatch.setattr(shard, "read_journal", late)
    assert read_done(folder, [SLICE]) == {"c0"}
