"""Run child processes; none outlives its deadline or its parent."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

from vmafarm.common.interrupts import killing
from vmafarm.process.child import PR_SET_PDEATHSIG, Child
from vmafarm.process.descendants import PRCTL
from vmafarm.process.finished import Finished
from vmafarm.process.process_limits import NO_CEILING, Ceiling

TERMINATE_WITH_PARENT = partial(PRCTL, PR_SET_PDEATHSIG, int(signal.SIGTERM))
"""For a child that must clean up."""
_POLL_SECONDS = 0.2
"""Seconds between checks for the end of a child whose pipe others keep open; else it is seen at once."""
_LOOK_SECONDS = 0.2
"""Longest time between two checks of the limits of children; at first they are more frequent."""


class Stop:
    """A request to stop that wakes all waits at once; it may be set from a signal handler."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._set = False

    def set(self) -> None:
        """Request a stop; may be called more than once."""
        if not self._set:
            self._set = True
            os.write(self._writer, b"x")  # never read, so that the pipe stays readable for all

    def is_set(self) -> bool:
        """Whether `set` was called."""
        return self._set

    def fileno(self) -> int:
        """Return a descriptor that is readable once `set` was called."""
        return self._reader

    def close(self) -> None:
        """Close the descriptors."""
        os.close(self._reader)
        os.close(self._writer)


class Stopped(Exception):  # noqa: N818 - not an error, the answer to a request
    """A stop was requested; all children were killed."""


def run(
    commands: Sequence[Sequence[str]],
    *,
    folder: Path,
    deadline: float,
    stop: Stop | None = None,
    environment: Mapping[str, str] | None = None,
    ceilings: Sequence[Ceiling] = (),
) -> list[Finished]:
    """Run programs in parallel and wait for all of them.

    Every child gets its own session. However this function ends, the child and all of its descendants are
    dead and reaped, even those that left its session. The kernel also kills a child when the calling thread
    ends.

    Parameters
    ----------
    commands
        Argument lists; no shell is involved.
    folder
        Working directory.
    deadline
        Time limit in seconds; then they are killed.
    stop
        Ends the wait early.
    environment
        Added to the environment of this process.
    ceilings
        Limits of each program; empty: no limits.

    Returns
    -------
    list of Finished
        Results in the order of `commands`.

    Raises
    ------
    Stopped
        `stop` was set.
    OSError
        A program cannot be started.
    """
    env = {**os.environ, "LC_ALL": "C", "AV_LOG_FORCE_NOCOLOR": "1", **(environment or {})}
    return _run(commands, folder, env, ceilings or [NO_CEILING] * len(commands), deadline, stop)


def ask(
    command: Sequence[str], *, seconds: float, given: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> Finished:  # fmt: skip
    """Run a program with the limits of this process, and return its output.

    Returns once the program itself has ended, even if it left other processes; these are killed, however this
    function ends.

    Parameters
    ----------
    command
        Argument list; no shell is involved.
    seconds
        Time limit; then it is killed.
    given
        Content of its standard input.
    environment
        Its whole environment; None: that of this process.

    Raises
    ------
    OSError
        It cannot be started.
    """
    environment = os.environ if environment is None else environment
    if not given:
        [finished] = _run([command], None, environment, [None], seconds, None)
        return finished
    with TemporaryFile() as stdin:  # unnamed; a pipe would have to be filled while the child reads
        stdin.write(given)
        stdin.seek(0)
        [finished] = _run([command], None, environment, [None], seconds, None, stdin.fileno())
    return finished


def _run(
    commands: Sequence[Sequence[str]], folder: Path | None, env: Mapping[str, str],
    ceilings: Sequence[Ceiling | None], deadline: float, stop: Stop | None,
    stdin: int = subprocess.DEVNULL,
) -> list[Finished]:  # fmt: skip
    ends_at = time.monotonic() + deadline
    children: list[Child] = []

    def end() -> None:
        for child in children:
            child.end()

    with killing(end):
        try:
            for command, ceiling in zip(commands, ceilings, strict=True):
                # One by one: if one fails to start, those already started must be known.
                children.append(Child(command, folder, env, ceiling, stdin))
            watched = any(ceiling is not None and ceiling.is_watched for ceiling in ceilings)
            _wait_for(children, watched, ends_at, stop)
            return [child.finish() for child in children]
        finally:
            for child in children:
                child.kill()


def _wait_for(children: Sequence[Child], watched: bool, ends_at: float, stop: Stop | None) -> None:
    """Wait until all have ended, or the deadline has passed."""
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


def _wait(children: Sequence[Child], stop: Stop | None, seconds: float) -> None:
    poller = select.poll()
    readers: dict[int, Callable[[], object]] = {}
    for child in children:
        for stream in child.streams():
            if stream.readable:
                readers[stream.fileno()] = stream.read
                poller.register(stream.fileno(), select.POLLIN)
    if stop is not None:
        poller.register(stop.fileno(), select.POLLIN)
    if not readers:
        # All have closed their output, so they are most likely about to end.
        seconds = min(seconds, 0.005)
    for descriptor, _ in poller.poll(seconds * 1000):
        if descriptor in readers:
            readers[descriptor]()


def die_with(parent: int) -> None:
    """Send this process SIGTERM when its parent ends.

    Parameters
    ----------
    parent
        Process ID of the expected parent; if that has already ended, SIGTERM is sent at once.
    """
    PRCTL(PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
