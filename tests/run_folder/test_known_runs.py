"""The runs that there are: foreign things are none, and what is written to a run makes it the newest."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support.command import call
from support.merge_helpers import make_row, plan_run

from vmafarm.run_folder.known_runs import is_planned, known_runs, tell_names
from vmafarm.run_folder.paths import RunFolder


def names(root: Path) -> list[str]:
    return [run.folder.name for run in known_runs(root)]


def made(root: Path, name: str, at: float) -> RunFolder:
    """A planned run whose files were all last written then."""
    folder = RunFolder(root, name)
    plan_run(root, ["a.mp4"]).folder.path.rename(folder.path)
    for path in (*folder.path.rglob("*"), folder.path):
        os.utime(path, (at, at))
    return folder


@pytest.mark.parametrize(
    "part", ["manifest", "provenance", "shards", "clip_logs", "failures", "elements", "submissions",
             "merge_jobs", "at_work", "table"],
)  # fmt: skip
def test_the_most_recently_active_run_comes_first_whatever_part_of_it_was_written(
    tmp_path: Path, part: str
) -> None:
    made(tmp_path, "one", 1e9 + 5)
    two = made(tmp_path, "two", 1e9)
    assert names(tmp_path) == ["one", "two"]
    path: Path = getattr(two, part)
    if not path.exists():
        path.touch()
    os.utime(path, (1e9 + 6, 1e9 + 6))
    assert names(tmp_path) == ["two", "one"]


def test_looking_at_a_run_does_not_make_it_the_newest(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run = plan_run(tmp_path / "runs", ["a.mp4"])
        run.shard([make_row("a.mp4")])
        run.clip_log(["a.mp4"], 1)
        run.freeze()
        run.folder.path.rename(tmp_path / "runs" / name)
        old = 1e9 + (name == "two")
        for path in (tmp_path / "runs" / name).rglob("*"):
            os.utime(path, (old, old))
    for verb in (["status"], ["qa", "--check", "mos"], ["sql", "SELECT 1"], ["report"], ["runs"]):
        call(*verb, *([] if verb == ["runs"] else ["--run", "one"]), cwd=tmp_path)
        assert names(tmp_path / "runs") == ["two", "one"], verb


def test_what_is_no_run_is_left_out(tmp_path: Path) -> None:
    good = made(tmp_path, "good", 1e9)
    manifest = good.manifest.read_bytes()
    for name in (".hidden", "-dash", "a b", "\x1b[31m", "é", "x" * 65, "\udcff", "new\nline"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.parquet").write_bytes(manifest)
    (tmp_path / "file").write_bytes(manifest)
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "fifo").mkdir()
    os.mkfifo(tmp_path / "fifo/manifest.parquet")
    (tmp_path / "folder/manifest.parquet").mkdir(parents=True)
    (tmp_path / "linked").symlink_to("good")
    assert sorted(names(tmp_path)) == ["good", "linked"]
    assert names(tmp_path / "nothing") == []
    shutil.rmtree(good.path)
    assert names(tmp_path) == []


def test_a_folder_that_this_user_may_not_enter_is_no_run(tmp_path: Path, as_ordinary_user: None) -> None:
    folder = made(tmp_path / "runs", "closed", 1e9)
    folder.path.chmod(0)
    try:
        assert not is_planned(folder)
        assert names(tmp_path / "runs") == []
        (tmp_path / "runs").chmod(0)
        with pytest.raises(PermissionError):
            known_runs(tmp_path / "runs")
    finally:
        (tmp_path / "runs").chmod(0o755)
        folder.path.chmod(0o755)


def test_times_that_no_clock_shows_are_taken_for_the_closest_one(tmp_path: Path) -> None:
    made(tmp_path, "before", -1e9)
    made(tmp_path, "later", 2e10)
    assert [(run.folder.name, run.active_at.year) for run in known_runs(tmp_path)] == [
        ("later", 2200), ("before", 1970),
    ]  # fmt: skip


def test_a_long_list_of_names_is_cut(tmp_path: Path) -> None:
    first = made(tmp_path, "r00", 1e9)
    for number in range(1, 25):
        shutil.copytree(first.path, tmp_path / f"r{number:02}")
    told = tell_names(known_runs(tmp_path))
    assert told.count(", ") == 20
    assert told.endswith(", and 5 more")
