"""Shards that change while they are merged."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pytest
from support.merge_helpers import make_row, plan_run
from support.merges import CLIPS, finish, refuse

from vmafarm.common.errors import IncompleteError
from vmafarm.merging.merge import merge
from vmafarm.merging.steps import Merge
from vmafarm.merging.table import TableWriter, Written

pytestmark = pytest.mark.full


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


def test_missing_clips_of_a_run_in_progress_are_reported_at_once(run, monkeypatch):
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
