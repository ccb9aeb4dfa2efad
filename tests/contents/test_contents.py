"""Rows stand for the content of files: exchanged ones are noticed, and rows of the same are taken."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.command import QUICK, call, table, write_scores
from support.errors_document import documented

from vmafarm.disk.sealed_parquet import write_sealed
from vmafarm.run_folder.failures import read_failures
from vmafarm.run_folder.paths import RunFolder

NAMES = {"a.mp4": "plain.mp4", "sub/b.mkv": "160x120.mkv", "c.mp4": "rotated.mp4"}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, clips: Callable[[str], Path]) -> Path:
    """A working folder with the run r of three clips, finished."""
    folder = tmp_path_factory.mktemp("scored")
    for name, source in NAMES.items():
        (folder / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clips(source), folder / "clips" / name)
    write_scores(folder / "scores.csv", list(NAMES))
    run(folder, "r")
    return folder


@pytest.fixture
def folder(scored: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(scored, tmp_path / "work", symlinks=True)
    return tmp_path / "work"


def run(folder: Path, name: str, *more: str, clips: str = "clips", status: int = 0) -> str:
    words = ("--clips", clips, "--scores", "scores.csv", "--run", name, *QUICK, *more)
    finished = call("run", *words, cwd=folder, status=status)
    return finished.stdout + finished.stderr


def flip(path: Path) -> None:
    """Another content of the same size, with the same times."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def rows(folder: Path, name: str) -> dict[str, dict]:
    return {row["clip_name"]: row for row in table(folder / f"runs/full_features_{name}.parquet").to_pylist()}


def counts(folder: Path, name: str) -> dict:
    return json.loads((folder / f"runs/full_features_{name}.merge.json").read_text())["counts"]


# Whether the files are those that were scored


def test_files_that_are_as_they_were_scored_are_verified(folder):
    assert "verified: 3 clips as scored\n" in run(folder, "r", "--verify")


def test_another_file_of_the_same_size_is_named_and_scored_again_if_asked_for(folder):
    documented("files that are not those that were scored")
    before = str(rows(folder, "r"))
    flip(folder / "clips/c.mp4")
    said = run(folder, "r", "--verify", status=1)
    assert "verified: 2 clips as scored\n1 clip of another content:\n    c.mp4\n" in said
    assert "vmafarm run --verify --update" in said
    assert str(rows(folder, "r")) == before
    said = run(folder, "r", "--verify", "--update")
    assert "1 clip of another size or content:\n    c.mp4" in said
    assert "scored 1 clip" in said
    assert "verified: 3 clips as scored" in run(folder, "r", "--verify")
    assert len(list((folder / "runs/r/shards").iterdir())) == 2


def test_a_file_that_cannot_be_read_is_named_and_its_row_kept(folder):
    (folder / "clips/c.mp4").rename(folder / "lost")
    (folder / "clips/c.mp4").symlink_to("/proc/self/mem")
    assert "plan" in run(folder, "r", "--verify", status=2)  # it is not among the clips
    (folder / "clips/c.mp4").unlink()
    shutil.copy(folder / "lost", folder / "clips/c.mp4")
    assert "verified: 3 clips" in run(folder, "r", "--verify")


def test_rows_of_an_earlier_version_count_and_are_told(folder):
    documented("rows of a version that recorded no digest")
    for path in (folder / "runs/r/clip_log").iterdir():
        log = pq.ParquetFile(path).read().drop_columns(["bytes", "sha256"])
        with path.open("wb") as file:
            write_sealed(log, file)
    said = run(folder, "r", "--verify")
    assert "verified: 0 clips as scored\n3 clips of which no digest is known" in said
    assert "nothing left to score" in said
    said = run(folder, "again", "--reuse", "r")
    assert "reused 0 rows of r (0 files compared by content; 3 of unknown content not taken)" in said
    assert "scored 3 clips" in said


@pytest.mark.full
def test_a_broken_clip_that_was_repaired_with_the_same_size_is_tried_again(folder, clips):
    good = folder / "clips/c.mp4"
    kept = good.read_bytes()
    good.write_bytes(b"\0" * len(kept))
    run(folder, "broken", "--max-failed-share", "1")
    assert {one.clip_name for one in read_failures(RunFolder(folder / "runs", "broken").failures)} == {
        "c.mp4"
    }
    good.write_bytes(kept)
    assert "scored" not in run(folder, "broken", "--max-failed-share", "1")
    said = run(folder, "broken", "--verify", status=1)
    assert "1 clip of another content:\n    c.mp4" in said
    assert "scored 1 clip" in run(folder, "broken", "--verify", "--update")
    assert str(rows(folder, "broken")) == str(rows(folder, "r"))


# Rows of other runs


def test_rows_of_the_same_content_are_taken_whatever_folder_and_run_they_are_of(folder):
    shutil.copytree(folder / "clips", folder / "copy")
    (folder / "copy/a.mp4").rename(folder / "copy/sub/a.mov")
    write_scores(folder / "scores.csv", ["sub/a.mov", "sub/b.mkv", "c.mp4"])
    said = run(folder, "other", "--reuse", "r", clips="copy")
    assert "reused 3 rows of r (3 files compared by content)" in said
    assert "nothing left to score" in said
    assert counts(folder, "other")["reused_rows"] == 3
    found, before = rows(folder, "other"), rows(folder, "r")
    for name, was in (("sub/a.mov", "a.mp4"), ("sub/b.mkv", "sub/b.mkv"), ("c.mp4", "c.mp4")):
        one = {key: value for key, value in found[name].items() if key not in ("clip_name", "mos")}
        assert str(one) == str({key: before[was][key] for key in one}), "NaN too"
    assert found["sub/a.mov"]["mos"] == 1.0
    assert "verified: 3 clips as scored" in run(folder, "other", "--verify", clips="copy")
    said = run(folder, "third", "--reuse", "runs/full_features_other.parquet", clips="copy")
    assert "reused 3 rows of other" in said


@pytest.mark.full
def test_a_file_of_the_same_name_and_size_but_another_content_is_scored(folder):
    shutil.copytree(folder / "clips", folder / "copy")
    flip(folder / "copy/c.mp4")
    said = run(folder, "other", "--reuse", str(folder / "runs/r"), clips="copy")
    assert "reused 2 rows of r (3 files compared by content)" in said
    assert "scored 1 clip" in said


def test_rows_of_another_engine_are_refused_and_nothing_is_written(folder):
    documented("rows to reuse of another engine")
    path = folder / "runs/r/provenance.json"
    stated = json.loads(path.read_text())
    del stated["sha256"]
    path.write_text(json.dumps(stated | {"libvmaf_version": "2.0"}))
    said = run(folder, "other", "--reuse", "r", status=2)
    assert 'the rows of "r" are of another engine' in said
    assert "libvmaf_version: found '2.0', expected" in said
    assert not list((folder / "runs/other").glob("shards/*/*"))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("nobody", "no run in"), ("it's", "--reuse \"it's\": neither a folder nor"), ("", "neither a folder"),
        ("other", "that is this run itself"),
        ("/nowhere/full_features_x.parquet", "its table beside that folder"),
    ],
)  # fmt: skip
def test_a_source_that_is_none_is_refused(folder, source, told):
    documented("a run or table to reuse that is none, or has no rows")
    assert told in run(folder, "other", "--reuse", source, status=2)


def test_a_run_without_rows_has_none_to_give(folder):
    call("plan", "--clips", "clips", "--scores", "scores.csv", "--run", "empty", cwd=folder)
    assert '"empty" has no rows yet' in run(folder, "other", "--reuse", "empty", status=2)


@pytest.mark.full
def test_rows_of_raw_clips_are_taken_only_if_their_frames_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    # 48,000 bytes: two frames of 160x100, or of 100x160.
    (tmp_path / "clips/a.yuv").write_bytes(bytes(number % 251 for number in range(48_000)))
    write_scores(tmp_path / "scores.csv", ["a.yuv"])
    run(tmp_path, "one", "--set", "corpus.geometry=160x100 30fps")
    other = run(tmp_path, "two", "--set", "corpus.geometry=100x160 30fps", "--reuse", "one")
    assert "reused 0 rows of one" in other
    assert (rows(tmp_path, "two")["a.yuv"]["width"], rows(tmp_path, "two")["a.yuv"]["height"]) == (100, 160)
    same = run(tmp_path, "three", "--set", "corpus.geometry=160x100 25fps", "--reuse", "one")
    assert "reused 1 row of one" in same
    assert rows(tmp_path, "three")["a.yuv"]["width"] == 160
    (log,) = (tmp_path / "runs/three/clip_log").rglob("*.parquet")
    assert pq.read_table(log)["fps"].to_pylist() == [25.0]
