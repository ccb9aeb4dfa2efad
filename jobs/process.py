"""Child processes: the one place that starts them, and none outlives its deadline or its parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from jobs.ceiling import NO_CEILING, Ceiling
from jobs.descendants import PRCTL, Descendants
from jobs.finished import LEFT_OUT, Finished

_PR_SET_PDEATHSIG = 1
_DIE_WITH_PARENT = partial(PRCTL, _PR_SET_PDEATHSIG, int(signal.SIGKILL))
"""Runs in the child between fork and exec, see `in_child`."""
TERMINATE_WITH_PARENT = partial(PRCTL, _PR_SET_PDEATHSIG, int(signal.SIGTERM))
"""The same for a child that has something to clean up."""
_SIGNAL = ctypes.PyDLL(None).signal
_SIGNAL.argtypes = (ctypes.c_int, ctypes.c_void_p)
_SIGNAL.restype = ctypes.c_void_p
HANG_UP_WITH_PARENT = (
    # Under nohup, and below the launcher of a local run, it is ignored; a null pointer is SIG_DFL.
    partial(_SIGNAL, int(signal.SIGHUP), None),
    partial(PRCTL, _PR_SET_PDEATHSIG, int(signal.SIGHUP)),
)
"""For one that has, and has SIGTERM blocked."""
_HEAD = 256 * 1024
_TAIL = 64 * 1024
_POLL_SECONDS = 0.2
"""Between two looks at whether a child has ended whose pipe another holds open; else that is seen at once."""
_LOOK_SECONDS = 0.2
"""Between two looks at how much memory children have, once they run for as long."""


class Stop:
    """A request to stop that wakes every wait at once; may be set from a signal handler."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._set = False

    def set(self) -> None:
        """Ask everybody to stop; may be called more than once."""
        if not self._set:
            self._set = True
            os.write(self._writer, b"x")  # never read: the pipe stays readable for all

    def is_set(self) -> bool:
        """Whether `set` was called."""
        return self._set

    def fileno(self) -> int:
        """Readable once `set` was called."""
        return self._reader

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self._reader)
        os.close(self._writer)


class Stopped(Exception):  # noqa: N818 - not an error, the answer to a request
    """The wait ended because a stop was asked for; the children are gone."""


def run(
    commands: Sequence[Sequence[str]],
    *,
    folder: Path,
    deadline: float,
    stop: Stop | None = None,
    environment: Mapping[str, str] | None = None,
    ceilings: Sequence[Ceiling] = (),
) -> list[Finished]:
    """Run programs side by side and wait for all of them.

    Every child gets a session of its own; on every way out of this function it and all that descends
    from it is dead and reaped, also what has left its session. A child is also killed by the kernel when
    the calling thread ends.

    Parameters
    ----------
    commands
        Argument lists; no shell is involved.
    folder
        Working directory.
    deadline
        Seconds until they are killed.
    stop
        Ends the wait early.
    environment
        Added to this process's own.
    ceilings
        What each of them may take; empty: as much as it wants.

    Returns
    -------
    list of Finished
        In the order of `commands`.

    Raises
    ------
    Stopped
        `stop` was set.
    OSError
        A program cannot be started.
    """
    env = {**os.environ, "LC_ALL": "C", "AV_LOG_FORCE_NOCOLOR": "1", **(environment or {})}
    ends_at = time.monotonic() + deadline
    children: list[_Child] = []
    try:
        for command, ceiling in zip(commands, ceilings or [NO_CEILING] * len(commands), strict=True):
            # One by one: those already started must be known if the next fails.
            children.append(_Child(command, folder, env, ceiling))
        watched = any(ceiling.is_watched for ceiling in ceilings)
        pause, look_at = 0.01 if watched else _POLL_SECONDS, 0.0
        while any(not child.ended() for child in children):
            if stop is not None and stop.is_set():
                raise Stopped
            left = ends_at - time.monotonic()
            if left <= 0:
                for child in children:
                    child.time_out()
                break
            if watched and (now := time.monotonic()) >= look_at:
                look_at, pause = now + pause, min(2 * pause, _LOOK_SECONDS)
                for child in children:
                    child.look()
            _wait(children, stop, min(left, pause, _POLL_SECONDS))
        return [child.finish() for child in children]
    finally:
        for child in children:
            child.kill()


def _wait(children: Sequence[_Child], stop: Stop | None, seconds: float) -> None:
    poller = select.poll()
    readers: dict[int, Callable[[], object]] = {}
    for child in children:
        if child.readable:
            readers[child.fileno()] = child.read
            poller.register(child.fileno(), select.POLLIN)
    if stop is not None:
        poller.register(stop.fileno(), select.POLLIN)
    if not readers:
        # All have closed their error output; that is nearly always the end.
        seconds = min(seconds, 0.005)
    for descriptor, _ in poller.poll(seconds * 1000):
        if descriptor in readers:
            readers[descriptor]()


class _Child:
    def __init__(
        self, command: Sequence[str], folder: Path, env: Mapping[str, str], ceiling: Ceiling
    ) -> None:
        self._started = time.monotonic()
        self._descendants = Descendants()
        self._process = self._descendants.start(
            command,
            (_DIE_WITH_PARENT, *ceiling.calls()),
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stderr is not None
        self._pipe = self._process.stderr
        os.set_blocking(self._pipe.fileno(), False)
        self._head = b""
        self._tail = b""
        self._timed_out = False
        self._folder = folder
        self._ceiling = ceiling
        self._broke = ""
        self._seconds = 0.0
        self.readable = True

    def fileno(self) -> int:
        return self._pipe.fileno()

    def read(self) -> bool:
        """Read once; whether there was something."""
        try:
            data = os.read(self._pipe.fileno(), 65536)
        except BlockingIOError:
            return False
        if not data:
            self.readable = False
        elif len(self._head) < _HEAD:
            self._head += data
        else:
            self._tail = (self._tail + data)[-_TAIL:]
        return bool(data)

    def ended(self) -> bool:
        if self._process.poll() is None:
            return False
        self._seconds = self._seconds or time.monotonic() - self._started
        return True

    def time_out(self) -> None:
        if not self.ended():
            self._timed_out = True

    def look(self) -> None:
        """Kill it if it is above its ceiling."""
        if not self.ended() and not self._broke:
            self._broke = self._ceiling.broken_by(self._process.pid)
            if self._broke:
                self._kill_group()

    def kill(self) -> None:
        self._kill_group()
        self._process.wait()
        self._descendants.end()
        self._pipe.close()

    def _kill_group(self) -> None:
        # All at once, also those that go on forking. It may hold grandchildren although its leader is gone.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def finish(self) -> Finished:
        if self._timed_out:
            self._kill_group()
            self._process.wait()
        # What is in the pipe now, and no more: a grandchild may keep it open and go on writing.
        for _ in range(64):
            if not self.read():
                break
        text = self._head
        if self._tail:
            text += LEFT_OUT.encode() + self._tail
        return Finished(
            self._process.returncode,
            text.decode("utf-8", "replace"),
            self._timed_out,
            self._seconds or time.monotonic() - self._started,
            self._broke,
            self._folder,
        )


def die_with(parent: int) -> None:
    """Send this process SIGTERM when its parent ends.

    Parameters
    ----------
    parent
        Process id that the parent should have; if it is gone already, SIGTERM comes at once.
    """
    PRCTL(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
