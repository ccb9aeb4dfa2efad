"""A merge job waits for what elements have recorded and a node sees late, and for nothing else."""

from __future__ import annotations

import time
from functools import partial

import pytest
from support.fake_slurm import finish, planned, write_record
from support.merge_helpers import make_row

from vmafarm import publish
from vmafarm.disk.fresh_names import look_anew
from vmafarm.shards import late_files
from vmafarm.shards.late_files import wait_for_late_files


@pytest.fixture
def run(tmp_path):
    return planned(tmp_path / "runs", 2)


def record(run, index, **result):
    """An element that worked on the slice of its number; returns its writer."""
    write_record(run, "11", index, [index], **result)
    return f"11-{index}-node1-10"


def hide(path):
    """Take a file away, as a node sees a folder that has an old listing; returns how to bring it back."""
    hidden = path.parents[4] / path.name
    path.rename(hidden)
    return lambda: hidden.rename(path)


def wait(run, seconds=0.3):
    said = []
    wait_for_late_files(run.folder, said.append, seconds, 0.01)
    return said


def seen_after(monkeypatch, folder, show, looks=3):
    """Have a folder's listing renewed only after it was looked at anew a few times."""
    seen = []

    def look(path):
        seen.append(path)
        if path == folder and seen.count(folder) == looks:
            show()

    monkeypatch.setattr(late_files, "look_anew", look)
    return seen


def test_a_shard_that_comes_late_is_waited_for_and_the_table_is_published(run, monkeypatch, capsys):
    for number in range(2):
        finish(run, number, writer=record(run, number))
    shard = run.folder.shard_folder(1) / "11-1-node1-10.parquet"
    seen_after(monkeypatch, shard.parent, hide(shard), looks=1)
    publish.merge_on_node(run.config.model_dump())
    assert run.folder.table.exists()
    waits = "files of 1 element are not seen on this node yet: waiting for up to 90 s"
    assert waits in capsys.readouterr().out


def test_it_is_looked_for_again_and_again(run, monkeypatch):
    finish(run, 0, writer=record(run, 0))
    shard = run.folder.shard_folder(0) / "11-0-node1-10.parquet"
    seen = seen_after(monkeypatch, shard.parent, hide(shard))
    assert len(wait(run, 60)) == 1
    assert seen.count(shard.parent) == 3
    assert {run.folder.shards, run.folder.failures, run.folder.elements, run.folder.path} < set(seen)


def test_what_does_not_come_is_named_after_a_bounded_time_and_the_merge_says_what_is_missing(
    run, monkeypatch, capsys
):
    finish(run, 0, writer=record(run, 0))
    record(run, 1)
    monkeypatch.setattr(publish, "wait_for_late_files", partial(wait_for_late_files, seconds=0.1))
    with pytest.raises(SystemExit) as ended:
        publish.merge_on_node(run.config.model_dump())
    assert ended.value.code == 1
    told = capsys.readouterr().out
    assert (
        "still not seen after 0 s, although 1 element recorded them: "
        "11-1-node1-10 on node1: 0 of 1 row\n" in told
    )
    assert "1 of 2 clips" in told.partition("still not seen")[2]


def test_a_part_of_an_elements_slices_is_counted(run):
    write_record(run, "11", 0, [0, 1], done=2)
    finish(run, 0, writer="11-0-node1-10")
    assert wait(run)[1].endswith("11-0-node1-10 on node1: 1 of 2 rows")
    run.journal([make_row("c0001.mp4")], 1, "11-0-node1-10")
    assert not wait(run), "rows in a journal are there"


def test_failures_that_are_not_there_yet_are_waited_for(run, monkeypatch):
    writer = record(run, 0, done=0, failed={"decode_error": 1})
    seen = seen_after(monkeypatch, run.folder.failures, lambda: run.fail("c0000.mp4", host="node1"))
    said = wait(run)
    assert said[1].endswith(f"{writer} on node1: no records of its failures"), "another writer's do not count"
    assert seen
    (run.folder.failures / f"{writer}.jsonl").touch()
    assert not wait(run)


@pytest.mark.parametrize("result", [{"ended": False}, {"done": 0}, {"done": 0, "exit_code": 3}], ids=str)
def test_of_an_element_that_recorded_nothing_nothing_is_waited_for(run, result):
    record(run, 0, **result)
    began = time.monotonic()
    assert not wait(run, 60)
    assert time.monotonic() - began < 30


def test_a_shard_that_was_moved_away_is_not_waited_for_once_other_rows_have_replaced_it(run):
    record(run, 0)
    finish(run, 0, writer="another")
    assert not wait(run, 60)


def test_a_damaged_shard_is_not_waited_for(run):
    shard = run.folder.shard_folder(0) / f"{record(run, 0)}.parquet"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"PAR1")
    assert not wait(run, 60)


def test_looking_anew_changes_the_folder_and_leaves_nothing_behind(tmp_path):
    before = tmp_path.stat().st_mtime_ns
    time.sleep(0.05)
    look_anew(tmp_path)
    assert tmp_path.stat().st_mtime_ns > before
    assert not list(tmp_path.iterdir())
    look_anew(tmp_path / "is-not-there")
