"""Cases of one process that is hit at one boundary, and what came of each.

A case is written ``kind:boundary:seed``; the same text is the same case again.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from crash import power
from crash.faults import Faults, boundaries
from crash.workload import CRASHED, GOOD, Ended, Place, broken_promises, fork, full_run, names_in, wait

ERRORS = {
    "ENOSPC once": (errno.ENOSPC, False),
    "ENOSPC from then on": (errno.ENOSPC, True),
    "EIO once": (errno.EIO, False),
    "EIO from then on": (errno.EIO, True),
    "read-only from then on": (errno.EROFS, True),
}
"""Each ends the run with an error of the project's own, or is overcome."""

KILLS = (
    "kill",
    "torn write",
    "power loss",
    "power loss, names kept",
    "power loss, in part",
    "kill, then power loss",
)
"""Each ends the run's processes at the boundary."""

KINDS = (*KILLS, *ERRORS)


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes
    ----------
    kind
        One of `KINDS`.
    at
        Boundary; -1: after the end.
    seed
        For what is left to chance.
    skip, skipped, further
        Site whose fsyncs do nothing, and where it happens then; see `crash.faults.Faults`.
    first
        Boundary at which a run before this one was killed; -1: there was none.
    """

    kind: str
    at: int
    seed: int = 0
    skip: str = ""
    skipped: int = -1
    further: int = 0
    first: int = -1

    def __str__(self) -> str:
        return f"{self.kind}:{self.at}:{self.seed}"

    @classmethod
    def parse(cls, text: str) -> Case:
        """Read what ``str`` wrote."""
        kind, at, seed = text.split(":")
        return cls(kind, int(at), int(seed))


@dataclass
class Result:
    """What came of a case: all empty and 0 is good.

    Attributes
    ----------
    lost
        Promises that were not kept, and clips without a row at the end.
    doubled
        Rows too many.
    differing
        What else is not as it would be undisturbed: the table's bytes, a run that could not go on.
    kills
        Times that its processes were killed.
    """

    case: str
    kind: str
    lost: list[str] = field(default_factory=list)
    doubled: int = 0
    differing: list[str] = field(default_factory=list)
    kills: int = 0

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.doubled or self.differing)


def run_case(case: Case, expected: bytes, work: Callable[[Place], None] = full_run) -> Result:
    """Run, hit, run again, compare.

    Parameters
    ----------
    case
        What happens.
    expected
        The table of a run that nobody disturbed.
    work
        The run.
    """
    result = Result(str(case), case.kind)
    with temporary_place() as place:
        faults = _faults(case, place)
        if case.first >= 0:
            run_child(place, work, Faults(faults.state, faults.root, case.first))
        ended = run_child(place, work, faults)
        result.kills = int(ended.status == -signal.SIGKILL)
        _judge_end(case, ended, result)
        if case.kind == "kill, then power loss":
            # All goes well the second time, but for what the first one had not made durable.
            _judge_end(case, run_child(place, work, replace(faults, at=-1)), result)
        if "power loss" in case.kind:
            chance = random.Random(case.seed) if case.kind.endswith("in part") else None
            power.lose_power(place.state, keep_names=case.kind.endswith("names kept"), chance=chance)
        result.lost += broken_promises(place)
        if case.skip and not result.good:
            return result
        finish(place, work, expected, result)
    return result


def run_child(place: Place, work: Callable[[Place], None], faults: Faults | None = None) -> Ended:
    """Run in a child, to its end or until it is hit."""
    return wait(fork(lambda: work(place), place, faults), place)


def finish(place: Place, work: Callable[[Place], None], expected: bytes, result: Result) -> None:
    """Run without faults until the table is there, and compare it."""
    ended = run_child(place, work)
    if ended.status:
        result.differing.append(f"the next run ended with {ended.status}: {ended.said[-2000:]}")
    compare(place.table, expected, result, GOOD)
    if not ended.status:
        result.lost += broken_promises(place)


def compare(table: Path, expected: bytes, result: Result, clips: Iterable[str]) -> None:
    """Count what a table lacks, has twice, or has otherwise."""
    try:
        names = Counter(names_in(table))
    except (OSError, ValueError) as error:
        result.lost.append(f"the table: {error}")
        return
    result.lost += [f"row of {name!r}" for name in clips if name not in names]
    result.doubled += sum(names.values()) - len(names)
    if table.read_bytes() != expected:
        result.differing.append("the table has other bytes")


def _faults(case: Case, place: Place) -> Faults:
    error, lasting = ERRORS.get(case.kind, (0, False))
    what = "error" if error else "tear" if case.kind == "torn write" else "kill"
    return Faults(
        str(place.state), str(place.folder / "runs"), case.at, what, error, lasting, case.skip,
        case.skipped, case.further,
    )  # fmt: skip


def _judge_end(case: Case, ended: Ended, result: Result) -> None:
    if ended.status == CRASHED or "Traceback" in ended.said:
        result.differing.append(f"an error that is not reported as one: {ended.said[-2000:]}")
    elif ended.status < 0 and case.kind in ERRORS:
        result.differing.append(f"ended with {ended.status}: {ended.said[-2000:]}")


class temporary_place:  # noqa: N801 - used as a context manager
    """A new place, removed afterwards."""

    def __enter__(self) -> Place:
        self._folder = Path(tempfile.mkdtemp(prefix="crash-"))
        return Place(self._folder / "w").make()

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody disturbs.

    Attributes
    ----------
    table
        Its product.
    total
        Boundaries that it passes.
    calls
        Number of each call to what it is; of an fsync to its site.
    names
        Numbers of the fsyncs that make a new name durable.
    """

    table: bytes
    total: int
    calls: dict[int, str]
    names: list[int]


def undisturbed() -> Undisturbed:
    """Run without faults."""
    with temporary_place() as place:
        ended = run_child(place, full_run, Faults(str(place.state), str(place.folder / "runs")))
        assert ended.status == 0, ended.said
        notes = [note for note in power.calls(place.state) if "number" in note]
        calls = {note["number"]: note.get("site", note["call"]) for note in notes}
        names, changed = [], set()
        for note in notes:
            if note["call"] in ("create", "link", "replace", "mkdir"):
                changed.add(os.path.dirname(note["path"]))
            elif note.get("folder") and note["path"] in changed:
                changed.remove(note["path"])
                names.append(note["number"])
        assert sorted(names_in(place.table)) == sorted(GOOD)
        return Undisturbed(place.table.read_bytes(), boundaries(place.state), calls, names)


def every_case(found: Undisturbed, seed: int) -> dict[str, list[Case]]:
    """All cases of each kind."""
    writes = [number for number, call in found.calls.items() if call == "write"]
    places: dict[str, Sequence[int]] = {kind: range(found.total) for kind in KILLS}
    places["torn write"] = [2 * number for number in writes]
    places |= {kind: range(0, found.total, 2) for kind in ERRORS}
    return {kind: [Case(kind, at, seed + at) for at in places[kind]] for kind in KINDS}


def choose(cases: dict[str, list[Case]], kills: int, errors: int, seed: int) -> list[Case]:
    """So many kills and errors, spread evenly over kinds and boundaries; more than there are: all."""
    chosen: list[Case] = []
    generator = random.Random(seed)
    for kinds, count in ((KILLS, kills), (tuple(ERRORS), errors)):
        pools = [cases[kind] for kind in kinds]
        for pool, share in zip(pools, _shares([len(pool) for pool in pools], count), strict=True):
            # One from each of `share` stretches of equal length.
            edges = [len(pool) * i // share for i in range(share + 1)] if share else []
            chosen += [pool[generator.randrange(a, b)] for a, b in itertools.pairwise(edges)]
    return chosen


def _shares(sizes: list[int], count: int) -> list[int]:
    shares = [0] * len(sizes)
    left = min(count, sum(sizes))
    while left:
        for i, size in enumerate(sizes):
            if left and shares[i] < size:
                shares[i] += 1
                left -= 1
    return shares


def run_all(work: Sequence[Callable[[], Result]], processes: int) -> Iterator[Result]:
    """Run many, a few at a time, in processes of their own; results as they come."""
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        pids = []
        for part in range(processes):
            pid = os.fork()
            if not pid:
                _work_off(work[part::processes], Path(folder) / str(part))
            pids.append(pid)
        for part, pid in enumerate(pids):
            _, status = os.waitpid(pid, 0)
            assert status == 0, f"a process of the harness itself ended with {status}"
            for line in (Path(folder) / str(part)).read_text().splitlines():
                yield Result(**json.loads(line))


def _work_off(work: Sequence[Callable[[], Result]], path: Path) -> None:
    status = 1
    try:
        with path.open("w") as file:
            for one in work:
                file.write(json.dumps(asdict(one())) + "\n")
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)
