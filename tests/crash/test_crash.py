"""Runs that are killed, starved or cut off from their folder lose nothing, double nothing, differ in nothing.

Most cases are one process with a cheap engine, hit at one boundary of the durable path
(`crash.workload`); some are the whole process tree with the real engine (`crash.tree`), and pairs of
real elements (`crash.two_writers`). Here a part, spread evenly; ``make crash N=1000 WRITERS=200`` is
the long one, `--kills 10000` all boundaries.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from crash.cases import ERRORS, KILLS
from crash.mutants import sites_in_source
from support.command import call

TESTS = Path(__file__).parents[1]
SEED = 20


def harness(tmp_path: Path, *options: str, seconds: float = 600) -> list[dict[str, Any]]:
    """Run the harness in a process of its own: it forks, and must have no threads."""
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "crash", "--seed", str(SEED), "--json", str(results), *options]
    ended = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=seconds, check=False)
    assert results.exists(), ended.stdout + ended.stderr
    found: list[dict[str, Any]] = json.loads(results.read_text())
    bad = any(result["lost"] or result["doubled"] or result["differing"] for result in found)
    assert ended.returncode == bad, ended.stdout + ended.stderr
    return found


@pytest.fixture(scope="module")
def hit(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Runs hit at boundaries, a few of each kind."""
    return harness(tmp_path_factory.mktemp("hit"), "--kills", "18", "--trees", "0", "--errors", "10")


@pytest.mark.full
@pytest.mark.parametrize("kind", [*KILLS, *ERRORS])
def test_a_run_that_is_hit_at_a_boundary_ends_in_the_same_bytes(kind: str, hit: list[dict[str, Any]]) -> None:
    results = [result for result in hit if result["kind"] == kind]
    assert len(results) >= 2
    assert [result for result in results if _wrong(result)] == []
    if kind in KILLS:
        assert all(result["kills"] for result in results)


@pytest.mark.full
def test_a_whole_process_tree_that_is_killed_again_and_again_ends_in_the_same_bytes(tmp_path: Path) -> None:
    (result,) = harness(tmp_path, "--trees", "1")
    assert not _wrong(result)
    assert result["kills"] >= 3


@pytest.mark.full
def test_two_writers_of_one_slice_of_which_one_is_hit_end_in_the_same_bytes(tmp_path: Path) -> None:
    results = harness(tmp_path, "--writers", "3")
    assert len(results) == 3
    assert [result for result in results if _wrong(result)] == []


@pytest.mark.full
def test_no_fsync_can_be_taken_away_without_a_power_loss_showing_it(tmp_path: Path) -> None:
    results = harness(tmp_path, "--fsyncs")
    assert sorted(result["case"] for result in results) == sorted(sites_in_source())
    assert [result for result in results if _wrong(result)] == []


def test_the_harness_finds_a_run_that_loses_a_row(tmp_path: Path) -> None:
    """Where a journal is not synced; else all of the above would mean nothing."""
    site = next(site for site in sites_in_source() if site.startswith("durable.py:append:"))
    (result,) = harness(tmp_path, "--without", site, "--case", "power loss:-1:0")
    assert any("settled" in lost for lost in result["lost"])


def _wrong(result: dict[str, Any]) -> bool:
    return bool(result["lost"] or result["doubled"] or result["differing"])


@pytest.mark.skipif(os.geteuid() != 0, reason="a read-only mount is root's to make")
def test_a_run_folder_on_a_read_only_mount_is_one_clear_error(tmp_path: Path) -> None:
    from crash.tree import RUN, make_corpus

    work = make_corpus(tmp_path / "w")
    (work / "runs").mkdir()
    script = 'mount --bind runs runs && mount -o remount,bind,ro runs && exec "$0" -m vmafarm "$@"'
    mount = ["unshare", "--mount", "sh", "-c"]
    tried = subprocess.run([*mount, "mount --bind / /"], cwd=work, capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no mounts here: {tried.stderr.decode().strip()}")
    for planned in (False, True):
        ended = subprocess.run(
            [*mount, script, sys.executable, *RUN], cwd=work, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 3, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        assert os.strerror(errno.EROFS) in ended.stderr
        assert "run.root" in ended.stderr
        if not planned:
            _plan(work)
            (work / "runs" / "r" / "logs").mkdir()


def _plan(work: Path) -> None:
    from crash.tree import RUN

    call("plan", *RUN[1:], cwd=work)
