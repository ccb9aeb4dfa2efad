"""What a merge records and prints, and what stops it from outside."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.merge_helpers import make_row, plan_run
from support.merges import CLIPS, finish, refuse

from vmafarm.common.errors import UnavailableError
from vmafarm.merging.result import summarise
from vmafarm.published.merge_record import read_merge_record
from vmafarm.schema.features import FEATURE_COLUMNS
from vmafarm.shards.recovery import recover


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


def test_too_little_memory_is_reported(run):
    run.shard([make_row(clip) for clip in CLIPS])
    with pytest.raises(UnavailableError, match=r"merge.memory = 1KB"):
        finish(run, memory="1KB")
    assert not run.folder.table.exists()


def test_lack_of_space_for_the_table_is_reported_and_nothing_is_left(run, monkeypatch):
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


def test_seconds_that_are_no_number_leave_the_record_readable(run):
    run.shard([make_row(clip) for clip in CLIPS])
    run.log_clips({CLIPS[0]: 1.0}, writer="v", seconds_scoring=float("nan"))
    run.log_clips({CLIPS[1]: 2.0}, seconds_scoring=2.0)
    finish(run)
    assert read_merge_record(run.folder.merge_record)["audits"]["seconds_scoring"] == 2.0
