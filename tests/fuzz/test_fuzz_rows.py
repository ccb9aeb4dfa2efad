"""Files that hold rows, damaged: what comes out is what was written, or nothing."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.damage import cuts, damaged, fuzz
from support.merge_helpers import NAN, NOW, Run, make_row, plan_run

from vmafarm.common.errors import IncompleteError, UsageError, VmafarmError
from vmafarm.disk.file_stamp import Stamps
from vmafarm.disk.jsonl import checked_line
from vmafarm.disk.sealed_parquet import DamagedError, describe_unsealed, is_sealed, open_sealed
from vmafarm.merging.audits import read_entries, read_hosts
from vmafarm.merging.merge import merge
from vmafarm.query.database import open_run
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.shards.footers import sort_shards
from vmafarm.shards.planned import read_outline
from vmafarm.shards.recovery import Recovered, recover
from vmafarm.shards.writer import ShardWriter, read_done

CLIPS = [f"clip é {i}.mp4" for i in range(6)]


def require_sealed(content: bytes) -> None:
    if not is_sealed(content):
        raise DamagedError(describe_unsealed(content))


def entry(clip: str) -> dict:
    return {
        "clip_name": clip, "frames": 120, "fps": 25.0, "pixel_format": "yuv420p", "bit_depth": 8,
        "seconds_decoding": 0.1, "seconds_scoring": 1.0, "audit": "", "seconds_other_plan": NAN,
        "audit_feature": "", "audit_difference": NAN,
        "declared_frames": 0, "declared_seconds": NAN, "short": False, "repeatable": True,
        "backend": "cpu", "finite_frames": 120, "zero_motion": 0,
        "attempts": 1, "notes": "", "host": "h1",
        "engine": "ffmpeg", "writer": "w", "slice": 0, "finished_at": NOW,
        "bytes": 1000, "sha256": "ab" * 32,
    }  # fmt: skip


def write(run: Run, close: bool) -> None:
    writer = ShardWriter(run.folder, 0, "w", run.provenance, 100)
    for clip in CLIPS:
        writer.append(make_row(clip, cambi_mean=NAN, cambi_std=NAN) if clip == CLIPS[2] else make_row(clip),
                      entry(clip))  # fmt: skip
    if close:
        writer.close()
    else:
        writer._journal.close()
        writer._done.close()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished writer's shard, which the tests damage again and again."""
    run = plan_run(tmp_path_factory.mktemp("shards") / "runs", CLIPS)
    write(run, close=True)
    return run


@pytest.fixture(scope="module")
def journals(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A killed writer's journal."""
    run = plan_run(tmp_path_factory.mktemp("journals") / "runs", CLIPS)
    write(run, close=False)
    return run


def whole(path: Path) -> bytes:
    """The content of a file as it was before the first test damaged it."""
    kept = path.with_name(f"{path.name}.tmp")
    if not kept.exists():
        shutil.copy(path, kept)
    return kept.read_bytes()


def shard_of(run: Run) -> Path:
    return run.folder.shard_folder(0) / "w.parquet"


def journal_of(run: Run) -> Path:
    return run.folder.shard_folder(0) / "w.journal"


def check_shard(run: Run, path: Path) -> None:
    good, bad = sort_shards([path], run.provenance, Stamps(), 100)
    assert good == []
    assert len(bad["unreadable_shard"]) == 1
    assert bad["unreadable_shard"][0][1].isprintable()
    assert read_done(run.folder, [0]) == set()


def test_a_shard_cut_at_every_64th_byte_gives_no_row_and_is_named(shards):
    path = shard_of(shards)
    for content in cuts(whole(path)):
        path.write_bytes(content)
        check_shard(shards, path)


@fuzz
@given(data=st.data())
def test_a_damaged_shard_gives_no_row_and_is_named(shards, data):
    path = shard_of(shards)
    path.write_bytes(data.draw(damaged(whole(path))))
    check_shard(shards, path)


@fuzz
@given(content=st.binary(max_size=2000))
def test_bytes_that_are_no_shard_give_no_row_and_are_named(shards, content):
    path = shard_of(shards)
    whole(path)
    path.write_bytes(content)
    check_shard(shards, path)


def test_every_single_bit_of_the_footer_is_under_the_seal(shards):
    path = shard_of(shards)
    content = whole(path)
    footer = int.from_bytes(content[-8:-4], "little") + 8
    assert is_sealed(content)
    for at in range(len(content) - footer, len(content)):
        for bit in (0, 5):
            flipped = content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
            with pytest.raises(DamagedError):
                require_sealed(flipped)


@settings(fuzz, max_examples=max(5, fuzz.max_examples // 20))
@given(data=st.data())
def test_a_merge_over_a_damaged_shard_publishes_nothing(shards, data):
    path = shard_of(shards)
    path.write_bytes(data.draw(damaged(whole(path))))
    with pytest.raises(IncompleteError, match="unreadable_shard"):
        merge(shards.folder, shards.config)
    assert not shards.folder.table.exists()


@settings(fuzz, max_examples=max(5, fuzz.max_examples // 20))
@given(data=st.data())
def test_queries_leave_damaged_files_out_and_say_so(shards, data):
    log = shards.folder.clip_log(0, "w")
    for path in (shard_of(shards), log):
        path.write_bytes(data.draw(damaged(whole(path))))
    said: list[str] = []
    with open_run(shards.config, said.append) as connection:
        counts = connection.execute("SELECT (SELECT count(*) FROM features), (SELECT count(*) FROM clips)")
        assert counts.fetchall() == [(0, 0)]
    assert len([line for line in said if "left out" in line]) == 2
    with duckdb.connect() as connection:
        assert read_entries(connection, shards.folder, Recovered()) == 1
        assert read_hosts(connection) == []


def rows_out(run: Run, tmp_path: Path) -> tuple[dict[str, dict], list]:
    """Rows that the merge would take from the journal, and what it finds wrong with it."""
    found = recover([journal_of(run)], tmp_path, run.provenance, run.folder.shards, 100)
    rows = {}
    for path in found.files:
        with pq.ParquetFile(path) as file:
            rows |= {row["clip_name"]: row for row in file.read().to_pylist()}
        path.unlink()
    return rows, found.findings


def check_journal(run: Run, tmp_path: Path) -> None:
    rows, findings = rows_out(run, tmp_path)
    expected = {clip: make_row(clip) for clip in CLIPS}
    expected[CLIPS[2]] |= {"cambi_mean": NAN, "cambi_std": NAN}
    for clip, row in rows.items():
        assert repr(row) == repr(expected[clip])
    # What counts as done is what the merge takes, or names.
    assert read_done(run.folder, [0]) == set(rows) or findings


def test_a_journal_cut_at_every_64th_byte_gives_the_rows_before(journals, tmp_path):
    path = journal_of(journals)
    for content in cuts(whole(path)):
        path.write_bytes(content)
        check_journal(journals, tmp_path)
        assert len(read_done(journals.folder, [0])) == max(0, content.count(b"\n") - 1)


@fuzz
@given(data=st.data())
def test_a_damaged_journal_gives_true_rows_only(journals, tmp_path, data):
    path = journal_of(journals)
    path.write_bytes(data.draw(damaged(whole(path))))
    check_journal(journals, tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@fuzz
@given(data=st.data())
def test_a_journal_that_was_written_by_hand_is_one_finding(journals, tmp_path, data):
    path = journal_of(journals)
    first = whole(path).split(b"\n")[0] + b"\n"
    row = {name: value for name, value in make_row(CLIPS[0]).items() if value == value}
    row = row | {name: data.draw(json_values) for name in data.draw(st.sets(st.sampled_from(sorted(row))))}
    log = {"clip_name": CLIPS[0], "host": "h1", "finished_at": NOW.isoformat()}
    log |= {name: data.draw(json_values) for name in data.draw(st.sets(st.sampled_from(sorted(log))))}
    records = [{"row": row, "log": log}, data.draw(json_values), {"row": data.draw(json_values)}]
    try:
        lines = [checked_line(record) for record in records]
    except UnicodeEncodeError:
        return
    broken = b"{]\n"
    lines.append(f"{zlib.crc32(broken):08x} ".encode() + broken)
    path.write_bytes(first + b"".join(lines[data.draw(st.integers(0, 3)) :]))
    rows_out(journals, tmp_path)
    read_done(journals.folder, [0])


def test_a_manifest_cut_at_every_64th_byte_is_refused(shards):
    path = shards.folder.manifest
    for content in cuts(whole(path)):
        path.write_bytes(content)
        for read in (load_manifest, read_outline):
            with pytest.raises(UsageError, match="manifest"):
                read(shards.folder)
    path.write_bytes(whole(path))


@fuzz
@given(data=st.data())
def test_a_damaged_manifest_is_refused(shards, data):
    path = shards.folder.manifest
    path.write_bytes(data.draw(damaged(whole(path))))
    try:
        for read in (load_manifest, read_outline):
            with pytest.raises(VmafarmError, match="manifest"):
                read(shards.folder)
    finally:
        path.write_bytes(whole(path))


def test_the_files_of_these_tests_are_right_before_they_are_damaged(tmp_path):
    run = plan_run(tmp_path / "runs", CLIPS)
    write(run, close=True)
    assert sort_shards([shard_of(run)], run.provenance, Stamps(), 100)[0] == [shard_of(run)]
    assert read_done(run.folder, [0]) == set(CLIPS)
    assert isinstance(open_sealed(shard_of(run)).read(), pa.Table)
