"""Long-running child processes whose output is passed on line by line."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from vmafarm.common.errors import show
from vmafarm.process.descendants import Descendants
from vmafarm.process.run import TERMINATE_WITH_PARENT

_END_SECONDS = 15.0
"""Time to clean up: files that Apptainer creates as subordinate users can be removed only by itself."""
_POLL_SECONDS = 0.2
"""Seconds between checks whether a silent program has ended."""
_READ_BYTES = 64 * 1024
_MOST_READS = 64
"""Reads of the pipe after the program has ended: a process that it left may go on writing."""
_LINE_BYTES = 16 * 1024
"""Longer lines are cut."""


def follow(
    command: Sequence[str], folder: Path, seconds: float, pass_on: Callable[[str], None]
) -> int | None:
    """Run a program in its own session; neither it nor any descendant outlives this function.

    However this function ends, a program that is still running is sent SIGTERM and has 15 s to clean up
    before it is killed.

    Parameters
    ----------
    command
        Argument list; no shell is involved.
    folder
        Working directory.
    seconds
        Time limit.
    pass_on
        Called with each line of its output and error output, made printable.

    Returns
    -------
    int or None
        Its exit status; None if it exceeded the time limit.
    """
    descendants = Descendants()
    process = descendants.start(
        command, [TERMINATE_WITH_PARENT], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        for line in _lines(_output(process, time.monotonic() + seconds)):
            pass_on(show(line.decode("utf-8", "replace").expandtabs().rstrip()))
        return process.poll()
    finally:
        try:
            _end(process)
        finally:  # even if interrupted
            descendants.end()


def _output(process: subprocess.Popen[bytes], ends_at: float) -> Iterator[bytes]:
    """Yield its output until it has ended, even if its pipe is still open, or until `ends_at`."""
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    os.set_blocking(pipe, False)
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    while process.poll() is None and time.monotonic() < ends_at:
        if poller.poll(_POLL_SECONDS * 1000):
            data = os.read(pipe, _READ_BYTES)
            if not data:
                poller.unregister(pipe)  # closed by all writers; poll() soon sees the end
            yield data
    for _ in range(_MOST_READS):
        try:
            data = os.read(pipe, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            return
        yield data


def _lines(output: Iterable[bytes]) -> Iterator[bytes]:
    begun = b""
    for data in output:
        *lines, begun = (begun + data).split(b"\n")
        begun = begun[:_LINE_BYTES]
        for line in lines:
            yield line[:_LINE_BYTES]
    if begun:
        yield begun


def _end(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM to the whole group, then SIGKILL."""
    try:
        if process.poll() is None:
            _signal(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
    finally:  # even if interrupted
        _signal(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
