"""A run that one process works on: a second one is refused, status shows it, and no trace of it is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support.command import QUICK, call, corpus, start, table, vmafarm, write_scores
from support.processes import children_of

pytestmark = pytest.mark.full

NAMES = [f"{number:02}.mp4" for number in range(24)]
OPTIONS = corpus("--run", "r", *QUICK, "--set", "extract.workers=1")


@pytest.fixture
def folder(tmp_path: Path, clips: Callable[[str], Path]) -> Path:
    """A working folder with clips that take some seconds."""
    (tmp_path / "clips").mkdir()
    for name in NAMES:
        shutil.copy(clips("160x120.mkv"), tmp_path / "clips" / name)
    write_scores(tmp_path / "scores.csv", NAMES)
    return tmp_path


@pytest.fixture
def first(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A real process that has scored the first clips of the run."""
    running = start("run", *OPTIONS, cwd=folder)
    try:
        until = time.monotonic() + 60
        while not list((folder / "runs/r/shards").glob("*/*.done")):
            assert running.poll() is None, running.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.05)
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        if running.stdout is not None and not running.stdout.closed:
            running.communicate()


@contextmanager
def paused(process: subprocess.Popen[str]) -> Iterator[None]:
    """Stop a process and all that it has started for a while, so that it cannot be too quick for the test."""
    tree = [process.pid]
    for one in tree:
        with suppress(ProcessLookupError):  # a program that has just ended
            os.kill(one, signal.SIGSTOP)
        tree += children_of(one)
    try:
        yield
    finally:
        for one in tree:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGCONT)


def test_a_second_process_is_refused_and_the_first_one_finishes(
    folder: Path, first: subprocess.Popen[str]
) -> None:
    with paused(first):
        for second in (
            vmafarm("run", *OPTIONS, cwd=folder, status=2),
            call("estimate", *OPTIONS, cwd=folder, status=2),
        ):
            assert f'the run "r" is being worked on: process {first.pid} of ' in second.stderr
            assert f"kill {first.pid}" in second.stderr
            assert "clips with their score" not in second.stdout, "before the corpus is read"
        refused = call("tidy", "--run", "r", cwd=folder, status=2).stderr
        assert f'error: the run "r" is being worked on: process {first.pid} of ' in refused
        assert "then tidy up again" in refused
        call("plan", *OPTIONS[:-2], cwd=folder)  # what does not score clips is not refused
    said = first.communicate(timeout=120)[0]
    assert first.returncode == 0, said
    assert table(folder / "runs/full_features_r.parquet").num_rows == len(NAMES)
    assert not (folder / "runs/r/at_work.json").exists()
    assert "nothing to do" in call("run", *OPTIONS, cwd=folder).stdout


def test_status_shows_elements_rate_and_time_left_and_its_watch_ends_with_the_run(
    folder: Path, first: subprocess.Popen[str]
) -> None:
    watching = start("status", "--run", "r", "--watch", "--every", "1", "--json", cwd=folder)
    with paused(first):
        document = json.loads(call("status", "--run", "r", "--json", cwd=folder).stdout)
        assert document["working"] is True
        assert document["elements"] == {"RUNNING": 1}
        assert document["slices"]["running"] == 1
        assert document["at_work"]["process"] == first.pid
        assert document["clips_per_second"] > 0
        left = document["missing"] / document["clips_per_second"]
        assert document["seconds_left"] == pytest.approx(left)
        shown = call("status", "--run", "r", cwd=folder).stdout
        assert f"\nat work    process {first.pid} of " in shown
        assert "\nelements   1 RUNNING\n" in shown
        assert "\nrate       " in shown
        assert watching.stdout is not None
        lines = [watching.stdout.readline()]
    assert first.communicate(timeout=120)[0]
    lines += watching.communicate(timeout=60)[0].splitlines()
    looks = [json.loads(line) for line in lines]
    assert watching.returncode == 0, "the table is there"
    assert looks[0]["working"] is True
    assert (looks[-1]["working"], looks[-1]["published"], looks[-1]["at_work"]) == (False, True, None)
    assert looks[-1]["elements"] == {"COMPLETED": 1}
    assert [look["done"] for look in looks] == sorted(look["done"] for look in looks)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_is_stopped_in_order_leaves_no_lease(
    folder: Path, first: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert (folder / "runs/r/at_work.json").exists()
    first.send_signal(number)
    first.communicate(timeout=60)
    assert first.returncode == 1
    assert not (folder / "runs/r/at_work.json").exists()
    document = json.loads(call("status", "--run", "r", "--json", cwd=folder).stdout)
    assert (document["working"], document["at_work"], document["clips_per_second"]) == (False, None, None)
    assert document["elements"] == {"FAILED": 1}
    assert document["messages"] == [{"count": 1, "message": "stopped before its work was done"}]


def test_a_process_that_was_killed_is_taken_over_from_at_once(
    folder: Path, first: subprocess.Popen[str]
) -> None:
    first.kill()
    first.communicate()
    assert (folder / "runs/r/at_work.json").exists()
    document = json.loads(call("status", "--run", "r", "--json", cwd=folder).stdout)
    assert (document["working"], document["at_work"]) == (False, None)
    assert vmafarm("status", "--run", "r", "--watch", cwd=folder, status=1).stdout
    finished = vmafarm("run", *OPTIONS, cwd=folder)
    assert "being worked on" not in finished.stdout + finished.stderr
    assert table(folder / "runs/full_features_r.parquet").num_rows == len(NAMES)
    assert not (folder / "runs/r/at_work.json").exists()
