"""Rows, logs and manifests that no writer of ours has written: named, never read."""

from __future__ import annotations

import json
import re
import resource
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.damage import as_json, spoiled
from support.merge_helpers import Run, make_row
from support.verbs import NAMES, QUICK, VERBS, say

from vmafarm.common.errors import UsageError
from vmafarm.disk.file_stamp import Stamps
from vmafarm.disk.sealed_blocks import stated_digest
from vmafarm.disk.sealed_parquet import DamagedError, open_sealed, read_columns, write_sealed
from vmafarm.merging.audits import read_entries
from vmafarm.run_folder.manifest import load_manifest, most_rows
from vmafarm.run_folder.provenance import read_provenance
from vmafarm.schema.features import ARROW_SCHEMA
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA, MAY_BE_UNKNOWN, read_clip_log
from vmafarm.shards.footers import sort_shards
from vmafarm.shards.journal import read_journal
from vmafarm.shards.planned import read_outline
from vmafarm.shards.recovery import Recovered
from vmafarm.shards.writer import read_done

pytestmark = pytest.mark.full

# Journals, clip logs, shards


def test_a_hostile_record_in_a_journal_is_named_and_never_a_row(run: Run) -> None:
    path = run.folder.shard_folder(1) / "w.journal"
    lines = path.read_bytes().splitlines(keepends=True)
    record = json.loads(lines[1][9:])
    assert set(record["row"]) == set(ARROW_SCHEMA.names)
    assert set(record["log"]) == set(CLIP_LOG_SCHEMA.names)
    assert len(read_journal(path).rows) == 3
    odd = []
    for where, one in spoiled(record):
        bad = as_checked(one)
        path.write_bytes(b"".join([lines[0], bad, *lines[2:]]))
        found = read_journal(path)
        if found.wrong:
            assert len(found.rows) == 2, where
            odd.append(bad)
        else:  # a number may be any
            kind, name = where.split(".")[:2]
            field = (ARROW_SCHEMA if kind == "row" else CLIP_LOG_SCHEMA).field(name)
            assert pa.types.is_floating(field.type), where
            assert not name.startswith("seconds"), where
    assert len(odd) > 200
    path.write_bytes(b"".join([*lines, *odd]))
    assert read_done(run.folder, [1]) == set(NAMES[1::2])
    for name, verb in VERBS.items():
        said = say(verb, run)
        if name in ("status", "merge", "qa", "sql"):
            assert "slice-00001/w.journal: " in said, (name, said)


def test_a_record_in_a_journal_that_lacks_a_half_or_has_those_of_two_clips_is_no_row(
    run: Run,
) -> None:
    path = run.folder.shard_folder(1) / "w.journal"
    lines = path.read_bytes().splitlines(keepends=True)
    record, other = (json.loads(line[9:]) for line in lines[1:3])
    for odd, said in (
        ({"row": record["row"]}, "a record without a row, or without how it was made"),
        ({"log": record["log"]}, "a record without a row, or without how it was made"),
        ({"row": record["row"], "log": None}, "a record without a row, or without how it was made"),
        ({"row": record["row"], "log": other["log"]}, "a row of one clip with how another one was made"),
    ):
        path.write_bytes(b"".join([lines[0], as_checked(odd), *lines[2:]]))
        found = read_journal(path)
        assert (len(found.rows), found.wrong) == (2, said)


def as_checked(document: Any) -> bytes:
    line = as_json(document) + b"\n"
    return f"{zlib.crc32(line):08x} ".encode() + line


FAR = datetime(9000, 1, 1, tzinfo=UTC)
NOT_UTF8 = b"\xff\xfe"
BAD_CELLS = [
    *((field.name, None) for field in CLIP_LOG_SCHEMA),
    *((field.name, NOT_UTF8) for field in CLIP_LOG_SCHEMA if pa.types.is_string(field.type)),
    *((field.name, float("inf")) for field in CLIP_LOG_SCHEMA if pa.types.is_floating(field.type)),
    *((field.name, -1 - (field.name in MAY_BE_UNKNOWN)) for field in CLIP_LOG_SCHEMA
      if pa.types.is_integer(field.type)),
    ("seconds_scoring", -1.0), ("seconds_decoding", 1e300), ("finished_at", FAR),
]  # fmt: skip


def with_cell(table: pa.Table, name: str, value: Any) -> pa.Table:
    """A table whose first row has another value in one column, which the file then allows to be null."""
    at = table.schema.get_field_index(name)
    kind = table.schema.field(name).type
    rest = table[name].to_pylist()[1:]
    if value == NOT_UTF8:
        cells = pa.array([value, *(text.encode() for text in rest)]).view(pa.string())
    else:
        cells = pa.array([value, *rest], kind)
    return table.set_column(at, pa.field(name, kind), cells)


@pytest.mark.parametrize(("name", "value"), BAD_CELLS)
def test_a_hostile_clip_log_is_named_and_does_not_count(run: Run, name: str, value: Any) -> None:
    (path,) = run.folder.clip_logs.glob("*.v.parquet")
    table = with_cell(read_clip_log(path, 100), name, value)
    with path.open("wb") as file:
        write_sealed(table, file)
    with pytest.raises(DamagedError, match=rf"{name}|UTF8"):
        read_clip_log(path, 100)
    said = {key: say(verb, run) for key, verb in QUICK.items()}
    if name in ("clip_name", "short", "repeatable"):
        assert "clip_log/slice-00000.v.parquet: " in said["status"]


@pytest.mark.parametrize("value", [None, NOT_UTF8])
def test_a_hostile_name_in_a_shard_is_a_shard_that_cannot_be_read(run: Run, value: Any) -> None:
    (path,) = run.folder.shards.glob("*/v.parquet")
    table = read_columns(path, {field.name: field.type for field in ARROW_SCHEMA})
    with path.open("wb") as file:
        write_sealed(with_cell(table, "clip_name", value), file)
    assert read_done(run.folder, [0]) in (set(), {NAMES[2]})
    run.folder.table.unlink()  # else it is asked, not the shards
    said = {name: say(verb, run) for name, verb in VERBS.items()}
    assert "nothing published" in said["merge"]
    if value:
        for name in ("status", "merge", "qa", "sql"):
            assert "slice-00000/v.parquet: " in said[name], (name, said[name])


def test_a_manifest_with_slices_that_nobody_planned_is_refused(run: Run) -> None:
    """A slice of the number 2,000,000,000 would be one of as many."""
    table = read_columns(run.folder.manifest, dict(zip(*zip(*MANIFEST, strict=True), strict=True)))
    for name, value in (("slice", 2_000_000_000), ("slice", len(table)), ("slice", -1), ("bytes", -1)):
        at = table.schema.get_field_index(name)
        cells = pa.array([value, *table[name].to_pylist()[1:]], table.schema.field(name).type)
        with run.folder.manifest.open("wb") as file:
            write_sealed(table.set_column(at, table.schema.field(name), cells), file)
        for read in (load_manifest, *([read_outline] if name == "slice" else [])):
            with pytest.raises(UsageError, match=r"manifest\.parquet"):
                read(run.folder)


@pytest.mark.parametrize("kind", ["a column more", "no rows"])
def test_a_manifest_of_another_shape_is_refused_by_its_outline_too(run: Run, kind: str) -> None:
    with pq.ParquetFile(run.folder.manifest) as whole:
        table = whole.read()
    table = table.slice(0, 0) if kind == "no rows" else table.append_column("x", table["slice"])
    with run.folder.manifest.open("wb") as file:
        write_sealed(table, file)
    for read in (load_manifest, read_outline):
        with pytest.raises(UsageError, match=r"manifest\.parquet"):
            read(run.folder)


def test_the_outline_of_a_sound_manifest_is_that_of_all_of_it_and_no_name_is_read(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_manifest(run.folder)
    monkeypatch.setattr("vmafarm.shards.planned.load_manifest", lambda _: pytest.fail("all of it was read"))
    outline = read_outline(run.folder)
    assert (outline.clips, outline.digest) == (len(whole.names), whole.digest)
    assert outline.slices == set(whole.slices.tolist())


MANIFEST = [("clip_name", pa.string()), ("mos", pa.float64()), ("bytes", pa.int64()), ("slice", pa.int32())]


# Files that unfold


def test_a_file_with_more_rows_than_clips_is_not_read(run: Run) -> None:
    most = most_rows(run.folder)
    rows = pa.Table.from_pylist([make_row(NAMES[0])] * (most + 1), schema=ARROW_SCHEMA)
    run.shard(rows.to_pylist(), 0, "z")
    run.log_clips({f"{i}.mp4": 0.1 for i in range(most + 1)}, 0, "z")
    said = {name: say(verb, run) for name, verb in VERBS.items()}
    told = f"{most + 1:,} rows, expected at most {most:,}"
    shard = "slice-00000/z.parquet"
    for name, what in (
        ("status", f"shards/{shard}"), ("status", "clip_log/slice-00000.z.parquet"), ("merge", shard),
        ("qa", shard), ("sql", shard),
    ):  # fmt: skip
        assert f"{what}: {told}" in said[name], (name, said[name])


@pytest.mark.parametrize(
    ("length", "rows", "said"),
    [(1_000_000, 6_000, "bytes in 6,000 rows"), (50_000_000, 1, "bytes in 1 rows")],
    ids=["one text repeated", "one long text"],
)
def test_a_file_that_takes_more_memory_than_its_rows_ever_do_is_not_read(
    run: Run, length: int, rows: int, said: str
) -> None:
    """The first one has a few kilobytes, and would take 6 GB: more than the deadline's 3."""
    path = run.folder.shard_folder(0) / "z.parquet"
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * length]))
    with path.open("wb") as file:
        write_sealed(pa.table({"clip_name": column}), file, store_schema=False)
    assert path.stat().st_size < 50_000
    told = say(VERBS["status"], run)
    assert "shards/slice-00000/z.parquet: " in told
    assert said in told


@contextmanager
def little_memory() -> Iterator[None]:
    """768 MB more than now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 3 * (1 << 28), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_a_large_file_that_is_not_parquet_is_known_by_its_ends_and_never_read_whole(run: Run) -> None:
    """It takes no room on the disk: a gigabyte of nothing."""
    shard = run.folder.shard_folder(0) / "z.parquet"
    log = run.folder.clip_log(0, "z")
    for path in (shard, log):
        with path.open("wb") as file:
            file.truncate(1 << 30)
    provenance = read_provenance(run.folder.provenance)
    assert provenance is not None
    ends = "cut or damaged (1,073,741,824 bytes): a Parquet file begins and ends with PAR1"
    with little_memory():
        for path in (shard, log):
            with pytest.raises(DamagedError, match=re.escape(ends)):
                open_sealed(path)
            with pytest.raises(DamagedError, match=re.escape(ends)):
                stated_digest(path)
        _, bad = sort_shards([shard], provenance, Stamps(), 100)
        read_entries(duckdb.connect(), run.folder, Recovered())
    assert bad["unreadable_shard"] == [(shard, ends)]
    said = say(VERBS["status"], run)
    assert f"shards/slice-00000/z.parquet: {ends}" in " ".join(said.split())
