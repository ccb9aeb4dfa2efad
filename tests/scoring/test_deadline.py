"""When a process is to stop: signals, the end of its parent, the end of the launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from vmafarm.common.signals import hear_of_children, ignored
from vmafarm.process.run import Stop
from vmafarm.scoring import deadline as lifetime
from vmafarm.scoring.deadline import (
    Deadline,
    elapsed_seconds,
    ignore_early_notice,
    signals_set,
    watch,
)

CHECKOUT = Path(__file__).parents[2]
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.fixture
def stop():
    stop = Stop()
    yield stop
    stop.close()


def is_set(stop, seconds=5.0):
    until = time.monotonic() + seconds
    while not stop.is_set() and time.monotonic() < until:
        time.sleep(0.01)
    return stop.is_set()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_sets_the_stop_and_nothing_else(stop, number):
    with signals_set(stop):
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert is_set(stop)


def test_the_handlers_before_are_back_afterwards_also_after_an_error(stop):
    before = [signal.getsignal(number) for number in SIGNALS]
    with suppress(ValueError), signals_set(stop):
        assert not set(before) & {signal.getsignal(number) for number in SIGNALS}
        raise ValueError
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert not stop.is_set()


@pytest.fixture
def restored():
    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGCHLD)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_this_process_was_started_to_ignore_stays_ignored(stop, restored, number):
    signal.signal(number, signal.SIG_IGN)
    with signals_set(stop):
        assert signal.getsignal(number) is signal.SIG_IGN
        with ignored(number):
            pass
        assert signal.getsignal(number) is signal.SIG_IGN
    assert signal.getsignal(number) is signal.SIG_IGN


def test_ignored_signals_do_nothing_and_what_handled_them_is_back_afterwards(restored):
    def hear(*_):
        raise AssertionError

    for number in SIGNALS:
        signal.signal(number, hear)
    with ignored(*SIGNALS):
        for number in SIGNALS:
            os.kill(os.getpid(), number)
    assert [signal.getsignal(number) for number in SIGNALS] == [hear] * len(SIGNALS)


def test_exit_statuses_are_heard_of_although_ends_of_children_were_ignored(restored):
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    assert subprocess.run(["false"]).returncode == 0  # what is to be avoided
    hear_of_children()
    assert subprocess.run(["false"]).returncode == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_end_of_the_launcher_sets_the_stop_however_it_ends(stop, number):
    before = set(threading.enumerate())  # other tests may have left watches of processes that live
    launcher = subprocess.Popen(["sleep", "300"])
    watch(launcher.pid, stop)
    (watching,) = set(threading.enumerate()) - before
    time.sleep(0.7)
    assert not stop.is_set()
    launcher.send_signal(number)
    launcher.wait()
    assert is_set(stop)
    watching.join(5)


def run_python(script, **options):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=CHECKOUT, **options)


def test_a_process_gets_sigterm_when_its_parent_is_killed(tmp_path):
    child = """
        import os, signal, sys, time
        from pathlib import Path
        from vmafarm.process.run import die_with
        folder = Path(sys.argv[1])
        def end(*_):
            (folder / "ended").write_text("by SIGTERM")
            os._exit(0)
        signal.signal(signal.SIGTERM, end)
        die_with(os.getppid())
        (folder / "ready").write_text("")
        time.sleep(300)
    """
    (tmp_path / "child.py").write_text(textwrap.dedent(child))
    parent = run_python(
        f"""
        import os, subprocess, sys
        os.environ["PYTHONPATH"] = {str(CHECKOUT)!r}
        subprocess.run([sys.executable, {str(tmp_path / "child.py")!r}, {str(tmp_path)!r}])
        """
    )
    assert appears(tmp_path / "ready")
    parent.kill()
    parent.wait()
    assert appears(tmp_path / "ended")
    assert (tmp_path / "ended").read_text() == "by SIGTERM"


def appears(path, seconds=10.0):
    until = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.02)
    return path.exists()


def test_a_process_whose_parent_has_gone_already_gets_sigterm_at_once():
    process = run_python(
        """
        import os, time
        from vmafarm.process.run import die_with
        die_with(os.getppid() + 1)
        time.sleep(300)
        """
    )
    assert process.wait(30) == -signal.SIGTERM


class Clock:
    """A clock that the test moves."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(lifetime, "time", clock)
    return clock


def test_without_a_limit_another_clip_is_always_allowed(clock):
    deadline = Deadline(0)
    deadline.note(1e9)
    clock.now += 1e9
    assert deadline.allows_another()
    assert not deadline.refused


@pytest.mark.parametrize(("minutes", "usable"), [(60, 3480), (8, 360), (4, 180), (1, 45)])
def test_the_end_of_the_limit_is_kept_for_ending_in_order(clock, minutes, usable):
    deadline = Deadline(minutes)
    clock.now += usable - 0.5
    assert deadline.allows_another()
    clock.now += 0.5
    assert not deadline.allows_another()


def test_a_clip_half_as_long_again_as_the_longest_must_fit(clock):
    deadline = Deadline(60)
    deadline.note(100)
    deadline.note(20)
    clock.now += 3480 - 151
    assert deadline.allows_another()
    assert not deadline.refused
    clock.now += 1
    assert not deadline.allows_another()
    assert deadline.refused


def test_a_refusal_is_remembered(clock):
    deadline = Deadline(1)
    clock.now += 100
    deadline.allows_another()
    clock.now -= 100
    assert deadline.allows_another()
    assert deadline.refused


def test_an_early_notice_ends_nothing_also_where_submitit_would_act_on_it(stop):
    before = signal.signal(signal.SIGUSR2, lambda *_: stop.set())  # submitit's
    try:
        ignore_early_notice()
        with signals_set(stop):
            os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR2)
        assert not is_set(stop, 0.2)
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_seconds_since_the_job_began_count_against_its_limit():
    assert elapsed_seconds({}) == elapsed_seconds({"VMAFARM_STARTED": "soon"}) == 0
    assert 59 <= elapsed_seconds({"VMAFARM_STARTED": str(int(time.time()) - 60)}) <= 62
    assert elapsed_seconds({"VMAFARM_STARTED": str(int(time.time()) + 60)}) == 0
    assert Deadline(30, elapsed=25 * 60).allows_another()
    assert not Deadline(30, elapsed=29 * 60).allows_another()
