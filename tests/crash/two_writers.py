"""Two elements of one slice at the same time, one of them killed, or stopped and continued late.

Both are children of one process that has everything imported already: the real element with the real
engine, on real clips; submitit is not part of it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from crash.cases import Result, compare
from crash.faults import Faults
from crash.kept_frames import are_pooled, lost_frames
from crash.tree import CLIPS, make_corpus
from crash.workload import Ended, Place, fork, wait

from vmafarm.common.errors import VmafarmError
from vmafarm.config.load import load
from vmafarm.config.sections import Config
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.corpus.plan import plan
from vmafarm.merging.merge import merge
from vmafarm.scoring.element import run_element
from vmafarm.scoring.element_spec import ElementSpec

ALL_CALLS = 60
"""Calls of the system that an element makes on this corpus, roughly."""


@dataclass(frozen=True)
class Slice:
    """A planned run of one slice, to copy, and its table."""

    folder: Path
    table: bytes
    seconds: float


def make_slice(folder: Path) -> Slice:
    """Plan a run, and find out what its table is."""
    work = make_corpus(folder / "slice")
    (work / "scratch").mkdir()
    place = Place(work)
    _succeed(wait(fork(lambda: plan(_config(work)), place), place))
    once = shutil.copytree(work, folder / "once")
    place = Place(once)
    started = time.monotonic()
    _succeed(wait(fork(lambda: _element(once), place), place))
    seconds = time.monotonic() - started
    _succeed(wait(fork(lambda: _merge(once), place), place))
    return Slice(work, (once / "runs" / "full_features_r.parquet").read_bytes(), seconds)


def run_two(template: Slice, seed: int) -> Result:
    """Start both, hit one, merge when the other has ended, and again when both have."""
    chance = random.Random(seed)
    what = chance.choice(["kill", "stop"])
    result = Result(f"two writers:{seed}", "two writers")
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        work = shutil.copytree(template.folder, Path(folder) / "w")
        state, place = Path(folder) / "state", Place(work)
        at_boundary = chance.random() < 0.5
        # Only the victim counts calls; the other one is as it always is.
        at = chance.randrange(2 * ALL_CALLS) if at_boundary else -1
        faults = Faults(str(state), str(work / "runs"), at, what)
        victim_first = chance.random() < 0.5
        offset = chance.uniform(0, 0.7 * template.seconds)
        pids = {}
        for who in ("victim", "other") if victim_first else ("other", "victim"):
            pids[who] = fork(lambda: _element(work), _own(place, who), faults if who == "victim" else None)
            time.sleep(offset if len(pids) == 1 else 0)
        if not at_boundary:
            time.sleep(chance.uniform(0, template.seconds))
            os.kill(pids["victim"], signal.SIGKILL if what == "kill" else signal.SIGSTOP)
        _judge(wait(pids["other"], _own(place, "other")), result)
        _merge_and_compare(place, template, result)
        os.kill(pids["victim"], signal.SIGCONT)
        ended = _wait_for_victim(pids["victim"], _own(place, "victim"))
        result.kills = int(ended.status == -signal.SIGKILL)
        if not result.kills:
            _judge(ended, result)
        _merge_and_compare(place, template, result)
    return result


def _wait_for_victim(pid: int, place: Place) -> Ended:
    # It may stop itself only now, at its boundary: nobody is left to wait for.
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT).si_code == os.CLD_STOPPED:
        os.waitid(os.P_PID, pid, os.WSTOPPED)
        os.kill(pid, signal.SIGCONT)
    return wait(pid, place)


def _own(place: Place, who: str) -> Place:
    folder = place.folder.parent / who
    folder.mkdir(exist_ok=True)
    return Place(folder)


def _merge_and_compare(place: Place, template: Slice, result: Result) -> None:
    place.table.unlink(missing_ok=True)
    _judge(wait(fork(lambda: _merge(place.folder), place), place), result)
    compare(place.table, template.table, result, CLIPS)
    result.lost += lost_frames(_planned(place.folder).folder, are_pooled)


def _judge(ended: Ended, result: Result) -> None:
    if ended.status:
        result.differing.append(f"ended with {ended.status}: {ended.said[-2000:]}")


def _succeed(ended: Ended) -> None:
    assert ended.status == 0, ended.said


def _config(work: Path) -> Config:
    given = [
        "engine.plan=identity", "engine.kind=ffmpeg", "run.name=r", f"run.root={work / 'runs'}",
        f"corpus.clips={work / 'clips'}", f"corpus.scores={work / 'scores.csv'}", "slices.count=1",
        f"extract.scratch={work / 'scratch'}", "extract.workers=1", "extract.flush_every=2",
        "engine.audit_every=0", "engine.frames=true",
    ]  # fmt: skip
    config, _ = load(None, given)
    return config


def _planned(work: Path) -> Config:
    # The plan was made elsewhere: only its frozen paths of the corpus are, and they are the same clips.
    return with_frozen(_config(work))


def _element(work: Path) -> None:
    result = run_element(ElementSpec(_planned(work).model_dump(), (0,)))
    if result.exit_code:
        raise VmafarmError(result.message, result.hint or "-")


def _merge(work: Path) -> None:
    config = _planned(work)
    merge(config.folder, config)
