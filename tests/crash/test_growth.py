"""A run that is planned again, merged and combined loses nothing, wherever it is killed."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from crash.cases import run_child
from crash.faults import Faults, boundaries
from crash.growth import change, combined, first_run, grow, scored_again, wrong
from crash.workload import Place

MANY = int(os.environ.get("VMAFARM_TESTS_KILLS", "8"))


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, bytes, bytes]:
    """A finished run whose corpus has changed; calls that taking it makes; and what comes out undisturbed."""
    folder = tmp_path_factory.mktemp("grown")
    place = Place(folder / "w").make()
    assert run_child(place, first_run).status == 0
    change(place)
    whole = Place(shutil.copytree(place.folder, folder / "whole"))
    ended = run_child(whole, grow, Faults(str(whole.state), str(whole.folder / "runs")))
    assert ended.status == 0, ended.said
    assert not scored_again(whole)
    return place.folder, boundaries(whole.state), whole.table.read_bytes(), combined(whole).read_bytes()


@pytest.mark.full
@pytest.mark.parametrize("what", ["kill", "tear"])
def test_wherever_it_is_killed_it_goes_on_and_scores_nothing_twice(
    grown: tuple[Path, int, bytes, bytes], tmp_path: Path, what: str
) -> None:
    template, total, table, both = grown
    assert total > 100
    killed = 0
    for number in range(MANY):
        place = Place(shutil.copytree(template, tmp_path / "w"))
        runs = place.folder / "runs"
        before = {
            str(path.relative_to(runs)): path.read_bytes() for path in runs.rglob("*") if path.is_file()
        }
        at = total * number // MANY
        faults = Faults(str(place.state), str(runs), at, what)
        ended = run_child(place, grow, faults)
        killed += ended.status == -signal.SIGKILL
        assert wrong(place, before) == [], (what, at)
        ended = run_child(place, grow)
        assert ended.status == 0, (what, at, ended.said)
        assert (place.table.read_bytes(), combined(place).read_bytes()) == (table, both), (what, at)
        assert not scored_again(place), (what, at)
        shutil.rmtree(place.folder)
    assert killed >= MANY // 2
