"""Processes that an engine leaves end with its clip, however they hide; no other process is touched."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from standin.grandchildren import TESTS
from support.processes import children_of, is_there

from vmafarm.images import apptainer
from vmafarm.process import run as process
from vmafarm.process.descendants import Descendants, in_child, kill_orphans, orphans_ended
from vmafarm.process.finished import Finished
from vmafarm.process.process_limits import Ceiling
from vmafarm.process.run import Stop, Stopped

PYTHON = [sys.executable, "-I", "-S", "-c"]
LEAVE = (
    f"import sys; sys.path.insert(0, {TESTS!r}); from standin.grandchildren import leave; leave(sys.argv[1])"
)
MB = 1 << 20
KINDS = 7
"""Processes of which `leave` writes down the ids."""


def engine(folder: Path, then: str, **options: object) -> Finished:
    """Run a program that leaves grandchildren, then does something else."""
    command = [*PYTHON, f"{LEAVE}\n{textwrap.dedent(then)}", str(folder)]
    options = {"deadline": 60.0, **options}
    [finished] = process.run([command], folder=folder, **options)  # type: ignore[arg-type]
    return finished


def left_by(folder: Path) -> list[int]:
    """Process IDs that `leave` recorded."""
    with suppress(FileNotFoundError):
        return [int(line) for line in (folder / "pids").read_text().splitlines()]
    return []


def assert_nothing_is_left(folder: Path) -> None:
    pids = left_by(folder)
    assert len(pids) == KINDS
    assert [pid for pid in pids if is_there(pid)] == []
    with (folder / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while somebody who goes on forking lives


@pytest.fixture(autouse=True)
def _kill_what_a_failing_test_leaves(tmp_path: Path) -> Iterator[None]:
    yield
    for path in tmp_path.rglob("pids"):
        for pid in left_by(path.parent):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def stop() -> Iterator[Stop]:
    stop = Stop()
    yield stop
    stop.close()


@pytest.mark.parametrize(
    ("then", "returncode"),
    [("", 0), ("sys.exit(3)", 3), ("import os; os.abort()", -signal.SIGABRT)],
    ids=["ends", "fails", "crashes"],
)
def test_no_process_is_left_when_an_engine_has_ended(tmp_path: Path, then: str, returncode: int) -> None:
    assert engine(tmp_path, then).returncode == returncode
    assert_nothing_is_left(tmp_path)


def test_no_process_is_left_at_the_deadline(tmp_path: Path) -> None:
    assert engine(tmp_path, "import time; time.sleep(300)", deadline=2.0).timed_out
    assert_nothing_is_left(tmp_path)


def test_no_process_is_left_above_a_ceiling(tmp_path: Path) -> None:
    eat = "import time; eaten = b'x' * (300 << 20); time.sleep(300)"
    assert engine(tmp_path, eat, ceilings=[Ceiling(resident=250 * MB)]).excess.what == "memory"
    assert_nothing_is_left(tmp_path)


def test_no_process_is_left_after_a_stop(tmp_path: Path, stop: Stop) -> None:
    def ask() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        stop.set()

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(Stopped):
        engine(tmp_path, "open('ready', 'w').close(); import time; time.sleep(300)", stop=stop)
    thread.join()
    assert_nothing_is_left(tmp_path)


def test_no_process_of_several_parallel_clips_is_left(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(6)]
    ends = ["", "sys.exit(3)", "import time; time.sleep(0.1)"]

    def work(number: int) -> None:
        folders[number].mkdir()
        engine(folders[number], ends[number % len(ends)])
        assert_nothing_is_left(folders[number])

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(len(folders))))


@pytest.mark.parametrize("use", [apptainer.ask, lambda command: apptainer.build(command, Path("/"), print)])
def test_no_process_that_apptainer_starts_is_left(tmp_path: Path, use: Callable[[list[str]], object]) -> None:
    quiet = "import os; [os.dup2(os.open('/dev/null', os.O_RDWR), number) for number in (1, 2)]"
    use([*PYTHON, f"{quiet}\n{LEAVE}", str(tmp_path)])
    assert_nothing_is_left(tmp_path)


def test_processes_of_a_clip_in_another_thread_survive(tmp_path: Path, stop: Stop) -> None:
    def work() -> None:
        with suppress(Stopped):
            engine(tmp_path, "open('ready', 'w').close(); import time; time.sleep(300)", stop=stop)

    thread = threading.Thread(target=work)
    thread.start()
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    for number in range(3):
        other = tmp_path / str(number)
        other.mkdir()
        engine(other, "")
        assert_nothing_is_left(other)
    alive = [pid for pid in left_by(tmp_path) if is_there(pid)]
    stop.set()
    thread.join()
    assert len(alive) == KINDS
    assert_nothing_is_left(tmp_path)


def test_processes_that_others_started_survive_even_if_reparented_to_this_one(
    tmp_path: Path,
) -> None:
    child = subprocess.Popen(["sleep", "300"])
    start_daemon = f"setsid sleep 300 > /dev/null 2>&1 & echo $! > {tmp_path}/daemon"
    daemon = 0
    try:
        work = Descendants()  # of another clip: this process is handed what it starts itself, too
        subprocess.run(["sh", "-c", start_daemon], check=True)
        daemon = int((tmp_path / "daemon").read_text())
        assert daemon in children_of(os.getpid())
        with orphans_ended():
            engine(tmp_path, "")
        work.end()
        assert child.poll() is None
        assert is_there(daemon)
    finally:
        for pid in filter(None, (child.pid, daemon)):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        child.returncode = -signal.SIGKILL
    assert_nothing_is_left(tmp_path)


def is_subreaper() -> bool:
    answer = ctypes.c_int()
    assert ctypes.CDLL(None).prctl(37, ctypes.byref(answer)) == 0  # PR_GET_CHILD_SUBREAPER
    return bool(answer.value)


def test_orphans_of_others_are_reparented_to_this_process_only_while_an_engine_runs(tmp_path: Path) -> None:
    assert not is_subreaper()
    first, second = Descendants(), Descendants()
    first.end()
    assert is_subreaper()
    second.end()
    assert not is_subreaper()
    with pytest.raises(OSError):
        process.run([["no-such-program"]], folder=tmp_path, deadline=30)
    assert not is_subreaper()


def test_memory_of_a_hidden_grandchild_counts(tmp_path: Path) -> None:
    script = """
        import os, time
        if not os.fork():
            os.setsid()
            if not os.fork():
                eaten = b"x" * (300 << 20)
                time.sleep(300)
            os._exit(0)
        time.sleep(300)
    """
    command = [*PYTHON, textwrap.dedent(script)]
    ceiling = Ceiling(resident=200 * MB)
    [finished] = process.run([command], folder=tmp_path, deadline=60, ceilings=[ceiling])
    assert finished.excess.what == "memory"


def test_engines_that_a_killed_process_left_are_killed_by_its_parent(tmp_path: Path) -> None:
    script = f"""
        import sys
        from pathlib import Path
        from vmafarm.images import apptainer
        from vmafarm.process import run as process
        command = [*{PYTHON!r}, {LEAVE!r} + "; open('ready', 'w').close(); import time; time.sleep(300)", "."]
        process.run([command], folder=Path({str(tmp_path)!r}), deadline=99)
    """
    with orphans_ended():
        element = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=Path(TESTS).parent)
        while not (tmp_path / "ready").exists():
            assert element.poll() is None
            time.sleep(0.01)
        assert kill_orphans() == set()
        assert len([pid for pid in left_by(tmp_path) if is_there(pid)]) == KINDS  # its element lives
        element.kill()
        element.wait()
    assert_nothing_is_left(tmp_path)


def test_a_child_makes_all_calls_in_their_order() -> None:
    made: list[int] = []
    in_child([lambda: made.append(1), lambda: made.append(2)])()
    assert made == [1, 2]
