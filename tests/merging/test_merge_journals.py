"""Rows that are in the journals of killed writers alone."""

from __future__ import annotations

import pytest
from support.merge_helpers import make_row, plan_run
from support.merges import CLIPS, finish, refuse, shown

from vmafarm.disk.jsonl import checked_line
from vmafarm.merging import sources
from vmafarm.schema.features import COLUMNS
from vmafarm.shards.recovery import Recovered, recover

WIDE = dict.fromkeys(COLUMNS) | {"clip_name": "clip_00.mp4", "mos": 3.0, "width": "wide", "height": 540}


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

    monkeypatch.setattr(sources, "recover", late)
    assert finish(run).counts["rows"] == len(CLIPS)


def test_rows_of_journals_are_shown_too(run):
    run.shard([make_row(clip) for clip in CLIPS[:3]])
    run.journal([make_row(CLIPS[3]), make_row(CLIPS[0], vmaf_std=7.0)], writer="v")
    errors = refuse(run, "missing", "conflict")
    assert {error["name"]: len(shown(run, error)) for error in errors} == {"missing": 6, "conflict": 1}


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
