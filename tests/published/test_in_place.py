"""A merge that resumes late replaces neither a newer table nor the files beside it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from support.merge_helpers import Run, make_row, plan_run

from vmafarm.common.errors import IncompleteError, UnavailableError
from vmafarm.disk.durable import Draft
from vmafarm.disk.locks import try_lock
from vmafarm.merging.merge import merge
from vmafarm.publish import deliver, examine
from vmafarm.published import in_place
from vmafarm.published.in_place import InPlace, SupersededError
from vmafarm.published.up_to_date import digest_file, read_delivered
from vmafarm.run_folder.manifest import load_manifest

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("undrawn")]

CLIPS = [f"clip_{i}.mp4" for i in range(6)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Six clips, of which five have a row."""
    run = plan_run(tmp_path / "runs", CLIPS, scratch=tmp_path)
    run.shard([make_row(clip) for clip in CLIPS[:5]])
    return run


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, Callable[[], object]], None]:
    """Have something happen while a process is stopped just before, or after, it has looked at the table.

    Before: as it has written a draft of a file of this name. After: as it gives the draft that name.
    """

    def stop(when: str, name: str, meanwhile: Callable[[], object], times: int = 1) -> None:
        method = {"before": "sync", "after": "publish"}[when]
        real = getattr(Draft, method)
        left = [times]

        def late(self: Draft) -> None:
            if left[0] and self._destination.name.endswith(name) and not (when == "before" and self._synced):
                left[0] -= 1
                with monkeypatch.context() as patch:
                    patch.setattr(Draft, method, real)
                    meanwhile()
            real(self)

        monkeypatch.setattr(Draft, method, late)

    return stop


def finish(run: Run) -> list[str]:
    """Deliver the rows so far; return what was printed."""
    said: list[str] = []
    deliver(run.config, said.append, allow_missing=True)
    return said


def complete(run: Run) -> None:
    """Do as another process would meanwhile: add the last row, and deliver."""
    run.shard([make_row(CLIPS[5])], writer="late")
    finish(run)


def assert_of_six_clips(run: Run) -> None:
    """Check that all delivered files belong to the table with all rows."""
    assert run.table()["clip_name"].to_pylist() == CLIPS
    record = json.loads(run.folder.merge_record.read_text())
    assert record["counts"]["rows"] == 6
    assert record["table_sha256"] == digest_file(run.folder.table)
    assert all(found["result"] != "found" or found["severity"] != "error" for found in record["qa"].values())
    assert "| rows | 6 |" in run.folder.card.read_text()
    assert "clips are missing" not in run.folder.report.read_text()
    assert f"{CLIPS[5]}" in run.folder.report.read_text()
    with duckdb.connect(str(run.folder.database), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM features").fetchall() == [(6,)]
    assert read_delivered(run.config, allow_missing=True) is not None
    assert not list(run.folder.root.glob(".*"))


@pytest.mark.parametrize("name", [".parquet", ".merge.json", ".card.md", "qa.duckdb", ".report.html"])
def test_a_delivery_that_resumes_late_keeps_the_newer_one_and_says_so(run, stop, name):
    stop("before", name, lambda: complete(run))
    said = finish(run)
    assert_of_six_clips(run)
    assert said[-1].endswith("another merge has published it meanwhile; it is up to date")


@pytest.mark.parametrize("name", [".parquet", ".merge.json", ".card.md", "qa.duckdb", ".report.html"])
def test_no_other_merge_comes_between_the_check_of_the_table_and_the_rename(run, stop, monkeypatch, name):
    refused = []

    def come_between() -> None:
        run.shard([make_row(CLIPS[5])], writer="late")
        with pytest.raises(IncompleteError, match="another process has held") as caught:
            finish(run)
        refused.append(caught.value.hint)

    monkeypatch.setattr(in_place, "PATIENCE_SECONDS", 0.0)
    stop("after", name, come_between)
    finish(run)
    (hint,) = refused
    assert "resume it if it is suspended (kill -CONT PID), or end it" in hint
    finish(run)
    assert_of_six_clips(run)


def test_a_merge_waits_for_another_one_to_put_its_table_in_place(run, monkeypatch):
    with run.folder.merge_lock.open("wb") as other:
        assert try_lock(other.fileno())
        monkeypatch.setattr(in_place.time, "sleep", lambda _: other.close())
        finish(run)
        assert other.closed, "it has waited"
    assert read_delivered(run.config, allow_missing=True) is not None


@pytest.mark.parametrize(
    ("folder", "lock"), [(0o755, 0o600), (0o700, 0o600), (0o2770, 0o660), (0o2775, 0o660)]
)
def test_users_who_can_write_the_run_can_take_its_lock_and_no_others(run, folder, lock):
    """Anyone who can open it for reading could hold the lock, and block every merge."""
    run.folder.path.chmod(folder)
    run.folder.merge_lock.touch(mode=0o644)
    finish(run)
    assert run.folder.merge_lock.stat().st_mode & 0o777 == lock
    assert run.folder.merge_lock.stat().st_gid == run.folder.path.stat().st_gid


def test_a_merge_is_refused_even_if_another_one_with_allow_missing_has_published(run, stop):
    stop("before", ".merge.json", lambda: finish(run))
    with pytest.raises(IncompleteError, match=r"nothing published, 1 reason:\n1\. \[missing\]"):
        deliver(run.config, lambda line: None)
    assert run.table().num_rows == 5


def test_a_newer_table_that_this_user_cannot_read_is_not_replaced(run, stop, monkeypatch):
    """In a project space, a member's umask may make it unreadable for others."""

    def hide() -> None:
        complete(run)
        monkeypatch.setattr("vmafarm.disk.file_stamp.open_regular", closed)
        monkeypatch.setattr(in_place, "digest_file", closed)

    def closed(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    stop("before", ".parquet", hide)
    with pytest.raises((OSError, IncompleteError)):
        finish(run)
    assert run.table().num_rows == 6


def drafts(run: Run) -> list[Path]:
    """Drafts of the table."""
    return list(run.folder.root.glob(".*.parquet.*.tmp"))


def test_a_merge_that_was_stopped_for_hours_still_has_its_draft(run, stop):
    def hours_later() -> None:
        for draft in drafts(run):
            os.utime(draft, (0, 0))
        finish(run)
        assert len(drafts(run)) == 1

    stop("before", ".parquet", hours_later)
    finish(run)
    assert drafts(run) == []
    assert read_delivered(run.config, allow_missing=True) is not None


def test_a_draft_of_the_table_that_was_removed_is_one_message(run, stop):
    stop("before", ".parquet", lambda: [draft.unlink() for draft in drafts(run)])
    with pytest.raises(IncompleteError, match="was removed while it was being written"):
        finish(run)


def test_a_lock_that_cannot_be_opened_is_named_and_nothing_published(run):
    run.folder.merge_lock.mkdir()
    with pytest.raises(UnavailableError, match=r"merge\.lock cannot be opened: Is a directory") as caught:
        finish(run)
    assert "move it away" in caught.value.hint
    assert not run.folder.table.exists()


def test_a_read_only_run_folder_does_not_prevent_publishing(run, monkeypatch):
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, *rest, **more: path != run.folder.path and real(path, *rest, **more)
    )
    finish(run)
    assert not run.folder.merge_lock.exists()
    assert read_delivered(run.config, allow_missing=True) is not None


def test_a_link_instead_of_the_lock_is_one_message_and_creates_no_file(run):
    other = run.folder.path.parent / "other"
    run.folder.merge_lock.symlink_to(other)
    with pytest.raises(
        UnavailableError, match="lock cannot be opened: this is a link, expected a regular file"
    ):
        finish(run)
    assert not other.exists()


@pytest.mark.parametrize("name", [".merge.json", ".card.md", "qa.duckdb", ".report.html"])
def test_files_that_still_ended_up_beside_a_newer_table_are_made_again(run, stop, monkeypatch, name):
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    stop("after", name, lambda: complete(run))
    said = finish(run)
    assert_of_six_clips(run)
    assert any("merging again" in line for line in said)


def test_if_the_newer_table_lacks_rows_added_since_it_is_merged_again(run, stop):
    def go_on() -> None:
        run.shard([make_row(CLIPS[4])], writer="more")
        finish(run)
        run.shard([make_row(CLIPS[5])], writer="late")

    run.shard([make_row(clip) for clip in CLIPS[:4]])
    stop("before", ".parquet", go_on)
    said = finish(run)
    assert_of_six_clips(run)
    assert any("merging again" in line for line in said)


def test_a_merge_that_others_always_overtake_ends_with_one_message(run, stop):
    tables = []

    def differ() -> None:
        run.shard([make_row(clip) for clip in CLIPS[: 1 + len(tables)]])
        merge(run.folder, run.config, allow_missing=True)
        tables.append(run.folder.table.read_bytes())
        run.shard([make_row(clip) for clip in CLIPS])

    stop("before", ".parquet", differ, times=30)
    with pytest.raises(SupersededError, match="another merge published") as caught:
        finish(run)
    assert "wait for the other one" in caught.value.hint
    assert len(tables) == 9, "a merge also starts again, twice, because files that it has read have changed"
    assert run.folder.table.read_bytes() == tables[-1]


@pytest.mark.parametrize("name", [".parquet", ".card.md"])
def test_the_same_bytes_by_another_merge_are_the_same_table(run, stop, name):
    stop("before", name, lambda: finish(run))
    said = finish(run)
    assert not any("meanwhile" in line for line in said)
    assert read_delivered(run.config, allow_missing=True) is not None


def test_reasons_of_a_late_merge_do_not_replace_the_record_of_a_newer_table(run, stop):
    stop("before", ".merge.json", lambda: complete(run))
    said: list[str] = []
    deliver(run.config, said.append)  # clips were missing when it began
    assert_of_six_clips(run)


def test_reasons_that_still_hold_are_reported(run):
    with pytest.raises(IncompleteError, match="1 of 6 clips are missing"):
        deliver(run.config, lambda _: None)


def test_a_table_that_was_removed_meanwhile_does_not_count_as_newer(run, stop):
    finish(run)
    stop("before", ".parquet", run.folder.table.unlink)
    finish(run)
    assert read_delivered(run.config, allow_missing=True) is not None


@pytest.mark.parametrize("name", ["qa.duckdb", ".merge.json", ".report.html"])
def test_checks_and_report_that_resume_late_are_those_of_the_newer_table(run, stop, name):
    finish(run)
    run.folder.database.unlink()  # else it is as it should be, and not written again
    stop("before", name, lambda: complete(run))
    said: list[str] = []
    outcomes = examine(run.config, said.append, page=run.folder.report)
    assert not any(outcome.is_error for outcome in outcomes)
    assert "another table was published meanwhile: checking that one" in said
    assert_of_six_clips(run)


def test_a_table_restored_from_a_copy_counts_as_another_until_it_is_merged(run, stop, tmp_path):
    """A file with the same size and times, but other bytes, is not mistaken for that of the merge."""
    finish(run)
    shutil.copy2(run.folder.table, tmp_path / "old")
    complete(run)
    stop("before", ".card.md", lambda: shutil.copy2(tmp_path / "old", run.folder.table))
    said = finish(run)
    assert any("merging again" in line for line in said)
    assert_of_six_clips(run)


def test_a_table_that_was_removed_since_is_not_the_one_put_in_place(run: Run) -> None:
    run.shard([make_row(name) for name in load_manifest(run.folder).names])
    place = InPlace(run.folder)
    merge(run.folder, run.config, place=place)
    place.require()
    run.folder.table.unlink()
    with pytest.raises(SupersededError):
        place.require()
