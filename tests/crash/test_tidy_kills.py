"""A tidy that is killed, or hit by a power loss, at any of its calls loses nothing; the next one finishes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from crash.faults import CrashError, Faults, FaultySystem, boundaries
from crash.power import lose_power
from support.fake_slurm import FakeSlurm
from support.merge_helpers import Run
from support.tidying import GOES, answers, files, finished, merged_again
from support.verbs import moved

from vmafarm.cluster.tidy import tidy
from vmafarm.disk import durable
from vmafarm.disk.syscalls import System

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("undrawn")]

AT_ONCE = 9
"""`make test` takes every ninth boundary of each way to end, `make test-full` all."""


def hit(run: Run, state: Path, at: int) -> bool:
    """Tidy a run; whether it ended before it came to this boundary."""
    system = FaultySystem(Faults(str(state), str(run.folder.root), at, "crash"))
    durable.system = system
    try:
        tidy(run.config)
    except CrashError:
        return False
    finally:
        durable.system = System()
        system.die()
    return True


def copied(run: Run, root: Path) -> Run:
    """The same run elsewhere; drafts that a killed process has left are older than those at work."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(run.folder.root, root, symlinks=True)  # with its times
    return moved(run, root)


def stays(run: Run) -> dict[str, bytes]:
    """Files that do not go, without drafts that the last kill left behind."""
    return {name: content for name, content in files(run).items() if not name.endswith(".tmp")}


@pytest.fixture
def run(cluster: FakeSlurm, tmp_path: Path) -> Run:
    """A published run with all that goes."""
    return finished(tmp_path / "runs")


def check(run: Run, before: Mapping[str, Any]) -> None:
    now = answers(run)
    assert {key: now[key] for key in now if now[key] != before[key]} == {}


def crash_everywhere(run: Run, folder: Path, first: int, step: int, power: str) -> None:
    before, expected = answers(run), stays(run)
    expected = {name: content for name, content in expected.items() if name not in GOES}
    expected = {name: content for name, content in expected.items() if not name.startswith("logs/")}
    at = first
    while True:
        state, one = folder / "state", copied(run, folder / "copy")
        shutil.rmtree(state, ignore_errors=True)
        before |= {"measured": answers(one)["measured"]}  # it names files
        ended = hit(one, state, at)
        last = boundaries(state)
        if power:
            lose_power(state, keep_names=power == "names kept")
        check(one, before)
        tidy(one.config)
        check(one, before)
        assert stays(one) == expected
        if ended:
            break
        at += step
    assert last > 60, "each log, journal, shard and marker is removed by a call"
    assert merged_again(one) == before["table"]


@pytest.mark.parametrize("power", ["", "power lost", "names kept"])
def test_a_tidy_that_is_hit_loses_nothing_and_the_next_one_finishes(
    run: Run, tmp_path: Path, power: str
) -> None:
    first = {"": 0, "power lost": 3, "names kept": 6}[power]
    crash_everywhere(run, tmp_path / "hit", first, AT_ONCE, power)


@pytest.mark.full
@pytest.mark.parametrize("power", ["", "power lost", "names kept"])
def test_a_tidy_that_is_hit_anywhere_loses_nothing(run: Run, tmp_path: Path, power: str) -> None:
    crash_everywhere(run, tmp_path / "hit", 0, 1, power)
