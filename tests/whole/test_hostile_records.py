"""Records that nobody of ours has written: each is left out, counted and told, and no verb falls over one."""

from __future__ import annotations

import json
import re
import resource
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.merge_helpers import Run, make_row
from support.verbs import NAMES, QUICK, VERBS, moved, say, whole_run

from vmafarm.common.errors import UsageError
from vmafarm.disk.file_stamp import Stamps
from vmafarm.disk.sealed_parquet import DamagedError, open_sealed, read_columns, stated_digest, write_sealed
from vmafarm.merging.audits import read_entries
from vmafarm.published.merge_record import read_merge_record
from vmafarm.run_folder.element_records import ElementRecord, load_elements
from vmafarm.run_folder.failures import FAILURE_CLASSES, FailureRecord, load_failures
from vmafarm.run_folder.manifest import load_manifest, most_rows
from vmafarm.run_folder.provenance import METADATA_KEY, read_provenance
from vmafarm.run_folder.submissions import next_number, read_submissions
from vmafarm.schema.features import ARROW_SCHEMA
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA, read_clip_log
from vmafarm.shards.footers import read_outline, sort_shards
from vmafarm.shards.journal import read_journal
from vmafarm.shards.recovery import Recovered
from vmafarm.shards.writer import read_done

HALF = "half of a character"
HOSTILE = [HALF, 10**30, -(10**30), {"a": [{}]}, [[[]]], 1.5e300]
"""None of these is a value of any field, but that a number may be large and an object may hold any."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Made once, and copied."""
    return whole_run(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def run(sound: Run, tmp_path: Path) -> Run:
    """A copy of it."""
    shutil.copytree(sound.folder.root, tmp_path / "runs")
    return moved(sound, tmp_path / "runs")


def as_json(document: Any) -> bytes:
    return json.dumps(document).replace(json.dumps(HALF), '"\\ud800"').encode()


def spoiled(document: Any) -> Iterator[tuple[str, Any]]:
    """The document with another value in each place, one at a time, and where that is."""
    if isinstance(document, dict):
        for key, inner in document.items():
            for where, odd in spoiled(inner):
                yield f"{key}.{where}", {**document, key: odd}
    elif isinstance(document, list) and document:
        for where, odd in spoiled(document[0]):
            yield where, [odd, *document[1:]]
    if not isinstance(document, dict) or not document:
        yield from (("", value) for value in HOSTILE)
    else:
        yield from (("", value) for value in HOSTILE if not isinstance(value, dict))


# Failures, elements


def test_hostile_records_of_failures_are_counted_by_every_verb(run: Run) -> None:
    path = run.folder.failures / "h1.jsonl"
    record = json.loads(path.read_text().splitlines()[0])
    assert set(record) == {field.name for field in fields(FailureRecord)}
    lines = [as_json(odd) for _, odd in spoiled(record)]
    lines += [as_json({**record, "failure": f"\x1b[31m{name}"}) for name in FAILURE_CLASSES]
    lines += [as_json({**record, "at": at}) for at in ("", "2026-01-01", "0001-01-01T00:00:00+14:00")]
    lines += [as_json({**record, "more": 1}), as_json({"clip_name": "a"}), b"", b"[" * 5000, b"\xff", b"NaN"]
    path.write_bytes(path.read_bytes() + b"".join(line + b"\n" for line in lines))
    assert load_failures(run.folder.failures)[1].count == len(lines)
    assert len(load_failures(run.folder.failures)[0]) == 3
    for name, verb in VERBS.items():
        said = say(verb, run)
        if name in ("status", "qa", "sql"):
            assert f"failures: {len(lines)} records" in said, said
        assert "\x1b" not in said
    assert load_failures(run.folder.failures)[0][0].failure == "decode_error"


def test_hostile_records_of_elements_are_counted(run: Run) -> None:
    (path,) = run.folder.elements.iterdir()
    began = json.loads(path.read_text())
    ended = {
        "ended_at": began["started_at"], "done": 1, "failed": {"decode_error": 1}, "seconds": 1.0,
        "cpu_seconds": 1.0, "at_once": 1, "threads": 1, "stopped": False, "exit_code": 0, "message": "",
        "hint": "",
    }  # fmt: skip
    record = began | ended
    assert set(record) == {field.name for field in fields(ElementRecord)}
    odd = [document for _, document in spoiled(record) if isinstance(document, dict)]
    for number, document in enumerate(odd):
        (run.folder.elements / f"{number}.jsonl").write_bytes(as_json(document) + b"\n")
    records, damaged = load_elements(run.folder)
    assert (len(records), damaged) == (1, len(odd))
    assert f"elements: {len(odd)} files, damaged" in say(VERBS["status"], run)
    for verb in QUICK.values():
        say(verb, run)


# Submissions


def test_a_hostile_submission_is_one_message_that_names_it(run: Run) -> None:
    path = run.folder.submissions / "00001.json"
    document, text = json.loads(path.read_text()), path.read_bytes()
    del document["settings"]  # of which nothing is read
    for where, odd in spoiled(document):
        path.write_bytes(as_json({**odd, "settings": {}}) if isinstance(odd, dict) else as_json(odd))
        with pytest.raises(UsageError, match=r"00001\.json, or \.jobs beside it, is damaged: .+"):
            read_submissions(run.folder)
            pytest.fail(where)
    path.write_bytes(text)
    (run.folder.submissions / "1x.jobs").touch()
    (run.folder.submissions / f"{'9' * 40}.jobs").touch()
    assert next_number(run.folder) == 2


@pytest.mark.parametrize(
    "line",
    [
        *({"job": "1", "round": 0, "offset": 0, "count": 2, key: value}
          for key in ("job", "round", "offset", "count") for value in [*HOSTILE, -1, None, "-u root", ""]),
        *({"merge_job": value} for value in [*HOSTILE, "--all", "1;2", None]),
        {"job": "1", "round": 0, "offset": 0, "count": 10**7},
        {"count": 1}, [], 1, "count",
    ],
    ids=repr,
)  # fmt: skip
def test_a_hostile_job_of_a_submission_is_one_message(run: Run, line: Any) -> None:
    path = run.folder.submissions / "00001.jobs"
    if line == {"merge_job": HALF} or (isinstance(line, dict) and HALF in line.values()):
        line = {key: "\x00" if value == HALF else value for key, value in line.items()}
    path.write_bytes(as_json(line) + b"\n")
    said = say(VERBS["status"], run)
    assert "00001.json, or .jobs beside it, is damaged" in said


# The record of the merge, what a table says of itself


def test_a_hostile_record_of_a_merge_is_told_and_hurts_nobody(run: Run) -> None:
    path = run.folder.merge_record
    document = json.loads(path.read_text())
    read = "run published table_sha256 inputs_sha256 options findings counts failed_classes made audits qa"
    few = {key: document[key] for key in ("version", *read.split(), "delivered")}
    few["qa"] = dict(list(few["qa"].items())[:1])
    few["made"] = {
        key: few["made"][key] for key in ("toolkit", "commit", "configuration_sha256", "images", "hosts")
    }
    few["options"] = {"allow_missing": True}
    few["audits"] = {"clips": 0}
    few["findings"] = [{key: few["findings"][0][key] for key in ("name", "severity", "message", "count")}]
    path.write_bytes(as_json(few))
    assert read_merge_record(path) == few | {"made": few["made"] | {"images": []}}
    for where, odd in spoiled(few):
        path.write_bytes(as_json(odd))
        with pytest.raises(UsageError, match=r"merge\.json is not the record of a merge: "):
            read_merge_record(path)
            pytest.fail(where)
    for odd in ([], {**few, "qa": {"schema": 1}}, {**few, "options": None}, {**few, "findings": [1]}):
        path.write_bytes(as_json(odd))
        for name, verb in VERBS.items():
            said = say(verb, run)
            if name in ("status", "info"):
                assert "is not the record of a merge" in " ".join(said.split()), said
    assert read_merge_record(path)["published"], "the merge among the verbs has written it anew"


def test_a_record_of_a_merge_may_lack_what_not_all_versions_write(run: Run) -> None:
    path = run.folder.merge_record
    document = json.loads(path.read_text())
    for key in ("failed_classes", "audits", "delivered"):
        document.pop(key)
    document |= {"made": None, "qa": {"schema": {"severity": "error", "result": "found"}}, "more": {"a": 1}}
    path.write_text(json.dumps(document))
    read = read_merge_record(path)
    assert (read["made"], read["audits"]["clips"], read["qa"]["schema"]["count"]) == ({}, 0, 0)
    assert read["more"] == {"a": 1}
    assert "1 check: schema 0" in say(VERBS["info"], run)
    for name, verb in VERBS.items():
        assert "not the record of a merge" not in say(verb, run), name


# The published table


def flip(content: bytes) -> bytes:
    """One bit of it, in the values of the first rows: Parquet has no check of its own on these."""
    return content[:200] + bytes([content[200] ^ 1]) + content[201:]


def no_table(run: Run) -> bytes:
    """Parquet, but no rows of ours."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), sink)
    return sink.getvalue().to_pybytes()


CHANGES: dict[str, Callable[[Run], bytes]] = {
    "flipped": lambda run: flip(run.folder.table.read_bytes()),
    "cut": lambda run: run.folder.table.read_bytes()[:-100],
    "foreign": no_table,
    "empty": lambda run: b"",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_table_that_was_changed_since_it_was_published_is_never_queried(run: Run, change: str) -> None:
    run.folder.table.write_bytes(CHANGES[change](run))
    for name in ("sql", "qa"):
        said = say(VERBS[name], run)
        assert "full_features_demo.parquet was changed since it was published, or its merge was" in said, said
        assert "vmafarm merge --run demo --allow-missing" in said
    told = say(VERBS["info"], run)
    assert ("merge.json beside it speaks of another table" in told) == (change == "flipped"), told
    say(VERBS["merge"], run)
    assert "was changed" not in say(VERBS["sql"], run), "a merge has made it anew"


def test_a_merge_that_refuses_leaves_it_known_what_the_table_was(run: Run) -> None:
    """Else its record would say nothing of the table, and wrong values would be given for right ones."""
    shard = next(run.folder.shards.glob("*/*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert "unreadable_shard" in json.dumps(say(VERBS["merge"], run, shard))
    run.folder.table.write_bytes(CHANGES["flipped"](run))
    for name in ("sql", "qa"):
        assert "was changed since it was published" in say(VERBS[name], run, shard)


@pytest.mark.parametrize("change", ["cut", "empty"])
def test_a_damaged_table_of_which_no_record_speaks_is_named_with_what_makes_it_anew(
    run: Run, change: str
) -> None:
    run.folder.table.write_bytes(CHANGES[change](run))
    run.folder.merge_record.write_text("{}")
    for name in ("sql", "qa"):
        said = say(VERBS[name], run)
        assert "full_features_demo.parquet cannot be read: " in said
        assert "/proc/" not in said
        assert "vmafarm merge --run demo" in said


def test_a_table_whose_record_is_damaged_is_queried_and_that_it_was_not_compared_is_said(run: Run) -> None:
    run.folder.merge_record.write_text("{}")
    said = say(VERBS["sql"], run)
    assert "cannot tell whether the table was changed: " in said
    assert "a.mp4" in said


def test_hostile_metadata_of_a_table_are_one_message(run: Run) -> None:
    with pq.ParquetFile(run.folder.table) as file:
        table = file.read()
    stated = json.loads(table.schema.metadata[METADATA_KEY])
    read = {"features": {"vmaf": "measured"}, "incomplete": {"missing": 1}, "left_out": {"a": "missing"}}
    for where, odd in spoiled(read):
        document = stated | odd if isinstance(odd, dict) else odd
        pq.write_table(table.replace_schema_metadata({METADATA_KEY: as_json(document)}), run.folder.table)
        said = say(VERBS["info"], run)
        assert "does not say what made it: expected the key vmafarm in its metadata" in said, (where, said)


def test_a_hostile_provenance_is_one_message(run: Run) -> None:
    document = json.loads(run.folder.provenance.read_text())
    del document["schema_version"]  # another number is another run's
    for where, odd in spoiled(document):
        run.folder.provenance.write_bytes(
            as_json({"schema_version": 1, **odd} if isinstance(odd, dict) else odd)
        )
        with pytest.raises(UsageError, match=r"provenance\.json is damaged"):
            read_provenance(run.folder.provenance)
            pytest.fail(where)
    for verb in VERBS.values():
        say(verb, run)


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
    *((field.name, -1) for field in CLIP_LOG_SCHEMA if pa.types.is_integer(field.type)),
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
    (path,) = run.folder.clip_logs.glob("*/v.parquet")
    table = with_cell(read_clip_log(path, 100), name, value)
    with path.open("wb") as file:
        write_sealed(table, file)
    with pytest.raises(DamagedError, match=rf"{name}|UTF8"):
        read_clip_log(path, 100)
    said = {key: say(verb, run) for key, verb in QUICK.items()}
    if name in ("clip_name", "short", "repeatable"):
        assert "clip_log/slice-00000/v.parquet: " in said["status"]


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
    monkeypatch.setattr("vmafarm.shards.footers.load_manifest", lambda _: pytest.fail("all of it was read"))
    assert read_outline(run.folder) == (len(whole.names), set(whole.slices.tolist()), whole.digest)


MANIFEST = [("clip_name", pa.string()), ("mos", pa.float64()), ("bytes", pa.int64()), ("slice", pa.int32())]


# Files that unfold


def test_a_file_with_more_rows_than_clips_is_not_read(run: Run) -> None:
    most = most_rows(run.folder)
    rows = pa.Table.from_pylist([make_row(NAMES[0])] * (most + 1), schema=ARROW_SCHEMA)
    run.shard(rows.to_pylist(), 0, "z")
    run.log_clips({f"{i}.mp4": 0.1 for i in range(most + 1)}, 0, "z")
    said = {name: say(verb, run) for name, verb in VERBS.items()}
    told = f"{most + 1:,} rows, expected at most {most:,}"
    for name, what in (
        ("status", "shards/"),
        ("status", "clip_log/"),
        ("merge", ""),
        ("qa", ""),
        ("sql", ""),
    ):
        assert f"{what}slice-00000/z.parquet: {told}" in said[name], (name, said[name])


@pytest.mark.parametrize(
    ("text", "rows", "said"),
    [("x" * 1_000_000, 6_000, "bytes in 6,000 rows"), ("x" * 50_000_000, 1, "bytes in 1 rows")],
    ids=["one text repeated", "one long text"],
)
def test_a_file_that_takes_more_memory_than_its_rows_ever_do_is_not_read(
    run: Run, text: str, rows: int, said: str
) -> None:
    """The first one has a few kilobytes, and would take 6 GB: more than the deadline's 3."""
    path = run.folder.shard_folder(0) / "z.parquet"
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))
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
    log = run.folder.clip_log_folder(0) / "z.parquet"
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
