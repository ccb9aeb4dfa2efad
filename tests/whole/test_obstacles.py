"""What stands where a file of a run should: no verb waits for it, and what counted is named."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from support.merge_helpers import Run
from support.verbs import QUICK, VERBS, say

from vmafarm.disk import regular_files
from vmafarm.merging import sources
from vmafarm.published import table as published
from vmafarm.query import database

pytestmark = pytest.mark.full


def _socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as one:  # its own name would be too long
            one.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


OBSTACLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "fifo": (os.mkfifo, "a FIFO"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "a device"),
    "loop": (lambda path: path.symlink_to(path), "symbolic links"),
    "folder": (Path.mkdir, "a folder"),
    "socket": (_socket, "a socket"),
}
FILES = {
    "shard": "demo/shards/slice-00000/v.parquet",
    "journal": "demo/shards/slice-00001/w.journal",
    "done": "demo/shards/slice-00001/w.done",
    "clip_log": "demo/clip_log/slice-00000.v.parquet",
    "failures": "demo/failures/h1.jsonl",
    "elements": "demo/elements/w-h1.jsonl",
    "submission": "demo/submissions/00001.json",
    "jobs": "demo/submissions/00001.jobs",
    "broken": "demo/broken_nodes/node7",
    "log": "demo/logs/1_0_0_log.out",
    "merge_job": "demo/merge_jobs/2.json",
    "provenance": "demo/provenance.json",
    "config": "demo/config.toml",
    "manifest": "demo/manifest.parquet",
    "database": "demo/qa.duckdb",
    "table": "full_features_demo.parquet",
    "record": "full_features_demo.merge.json",
    "card": "full_features_demo.card.md",
}
TELLS = {
    "shard": {"status": "slice-00000/v.parquet", "merge": "slice-00000/v.parquet"},
    "journal": {"status": "slice-00001/w.journal", "merge": "slice-00001/w.journal"},
    "clip_log": {"status": "slice-00000.v.parquet", "qa": "slice-00000.v.parquet", "merge": "clip logs that"},
    "failures": {"status": "failures: 1 record", "qa": "failures: 1 record", "merge": "records of failures"},
    "elements": {"status": "elements: 1 file"},
    "submission": {"status": "00001.json", "retry": "00001.json", "logs": "00001.json"},
    "jobs": {"status": "00001.json", "retry": "00001.json"},
    "provenance": {"merge": "provenance.json"},
    "config": {"run": "config.toml"},
    "manifest": {"status": "manifest.parquet", "merge": "manifest.parquet", "qa": "manifest.parquet"},
    "table": {"info": "full_features_demo.parquet"},
    "record": {"status": "merge.json", "info": "merge.json"},
}
"""The expected message by file and verb."""
SLOW = {(file, "device") for file in ("shard", "clip_log", "table")}
"""What DuckDB opens: with any other obstacle the verbs that ask it, which take longer, do the same."""


def put(run: Run, file: str, obstacle: str) -> Path:
    path = run.folder.root / FILES[file]
    path.unlink()
    OBSTACLES[obstacle][0](path)
    return path


def test_all_these_files_are_there_and_all_verbs_take_them(run: Run) -> None:
    """Else the tests below could not fail."""
    for file in FILES.values():
        assert (run.folder.root / file).is_file(), file
    for name, verb in VERBS.items():
        said = say(verb, run)
        for wrong in ("left out of", "left out: ", "regular file", "damaged"):
            assert wrong not in said, (name, said)


@pytest.mark.parametrize("obstacle", OBSTACLES)
@pytest.mark.parametrize("file", FILES)
def test_no_verb_waits_for_what_is_no_file(run: Run, file: str, obstacle: str) -> None:
    path = put(run, file, obstacle)
    verbs = VERBS if obstacle == "fifo" or (file, obstacle) in SLOW else QUICK
    said = {name: say(verb, run, path) for name, verb in verbs.items()}
    for verb, what in TELLS.get(file, {}).items():
        if verb in said:
            assert what in said[verb], (verb, said[verb])
    if file in ("shard", "journal", "clip_log"):
        assert OBSTACLES[obstacle][1] in said["status"], said["status"]


@pytest.mark.parametrize("obstacle", ["fifo", "device", "folder", "socket"])
def test_a_query_names_what_stands_where_the_table_should(run: Run, obstacle: str) -> None:
    path = put(run, "table", obstacle)
    said = say(VERBS["sql"], run, path)
    assert f"cannot be read: this is {OBSTACLES[obstacle][1]}, expected a regular file" in said
    assert "move it away" in said


def test_a_table_that_a_fifo_replaces_while_it_is_queried_keeps_nobody_waiting(run: Run, monkeypatch) -> None:
    """DuckDB opens what it reads once more: it is given the file that was looked at, not its name."""

    def late(file: object, record: object) -> bool:
        put(run, "table", "fifo")
        return False

    monkeypatch.setattr(published, "is_changed", late)
    assert "a.mp4" in say(VERBS["sql"], run, run.folder.table)


@pytest.mark.parametrize(
    ("file", "verbs"),
    [("table", ["merge"]), ("record", ["merge"]), ("database", ["qa"])],
)
def test_a_folder_in_the_place_of_what_a_verb_writes_is_to_be_moved_away(
    run: Run, file: str, verbs: list[str]
) -> None:
    path = put(run, file, "folder")
    for verb in verbs:
        said = say(VERBS[verb], run)
        assert f"{path.name}: Is a directory\nmove the folder away that stands there" in said, said


@pytest.mark.parametrize(
    ("verb", "module", "check", "file"),
    [
        ("merge", sources, "check_footers", "shard"),
        ("merge", sources, "check_footers", "manifest"),
        ("sql", database, "sort_shards", "shard"),
        ("sql", database, "read_outline", "manifest"),
    ],
)
def test_a_fifo_that_takes_a_files_place_after_its_check_keeps_no_verb_waiting(
    run: Run, verb: str, module: ModuleType, check: str, file: str, monkeypatch
) -> None:
    """DuckDB opens them by name, and waits for a FIFO until somebody writes to it."""
    monkeypatch.setattr(regular_files, "FIRST_LOOK_SECONDS", 0.01)
    run.folder.table.unlink()
    original = getattr(module, check)

    def late(*arguments: object) -> object:
        found = original(*arguments)
        monkeypatch.setattr(module, check, original)
        put(run, file, "fifo")
        return found

    monkeypatch.setattr(module, check, late)
    said = say(VERBS[verb], run, run.folder.root / FILES[file])
    assert "FIFO" in said, said
