"""Grandchildren that leave the process that started their parent, in each way that a daemon knows."""

from __future__ import annotations

import fcntl
import os
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

SECONDS = 300.0
_FORKING_SECONDS = 20.0
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def leave(folder: str) -> None:
    """Start one of each kind; their process ids stand in ``folder/pids``, a line each, once this returns.

    One more, which forks and ends over and over again, locks ``folder/lock`` for as long as any of it lives.
    """
    pids = os.open(f"{folder}/pids", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for kind in (_setsid, _double_fork, _closes_all, _ignores_signals, _clears_environment, _has_a_child):
        _fork_and_wait_until_it_is_there(kind, pids)
    _fork_and_wait_until_it_is_there(_goes_on_forking, os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT))


def _fork_and_wait_until_it_is_there(kind: Callable[[int, int], object], descriptor: int) -> None:
    there, mine = os.pipe()
    if not os.fork():
        try:
            os.close(there)
            kind(descriptor, mine)
        finally:
            os._exit(1)
    os.close(mine)
    assert os.read(there, 1) == b"x", f"{kind.__name__} failed"
    os.close(there)


def _stay(pids: int, mine: int) -> NoReturn:
    _note(pids, mine)
    time.sleep(SECONDS)
    os._exit(0)


def _note(pids: int, mine: int) -> None:
    os.write(pids, f"{os.getpid()}\n".encode())
    os.write(mine, b"x")


def _setsid(pids: int, mine: int) -> None:
    os.setsid()
    _stay(pids, mine)


def _double_fork(pids: int, mine: int) -> None:
    os.setsid()
    if not os.fork():
        os.setpgid(0, 0)
        _stay(pids, mine)
    os._exit(0)


def _closes_all(pids: int, mine: int) -> None:
    os.setsid()
    _note(pids, mine)
    os.closerange(0, 1024)
    time.sleep(SECONDS)


def _ignores_signals(pids: int, mine: int) -> None:
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    _stay(pids, mine)


def _clears_environment(pids: int, mine: int) -> None:
    os.setsid()
    if not os.fork():
        _note(pids, mine)
        os.execve("/bin/sleep", ["sleep", str(int(SECONDS))], {})
    os._exit(0)


def _has_a_child(pids: int, mine: int) -> None:
    os.setsid()
    os.write(pids, f"{os.getpid()}\n".encode())
    if not os.fork():
        _double_fork(pids, mine)
    time.sleep(SECONDS)


def _goes_on_forking(lock: int, mine: int) -> None:
    fcntl.flock(lock, fcntl.LOCK_SH)
    os.write(mine, b"x")
    os.close(mine)
    until = time.monotonic() + _FORKING_SECONDS
    while time.monotonic() < until:
        os.setsid()
        time.sleep(0.002)
        if os.fork():
            os._exit(0)
