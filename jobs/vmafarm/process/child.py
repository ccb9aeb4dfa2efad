"""One child process at work: what it prints, when it has ended, and how nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from vmafarm.process.descendants import PRCTL, Descendants
from vmafarm.process.finished import LEFT_OUT, Excess, Finished
from vmafarm.process.process_limits import Ceiling

PR_SET_PDEATHSIG = 1
_DIE_WITH_PARENT = partial(PRCTL, PR_SET_PDEATHSIG, int(signal.SIGKILL))
"""Runs in the child between fork and exec, see `vmafarm.process.descendants.in_child`."""
_HEAD = 256 * 1024
_TAIL = 64 * 1024
MOST_OUTPUT = 64 * 1024 * 1024
"""Of an answer. A queue of a million jobs, a line each, is no longer."""


class Stream:
    """What a child prints into a pipe: of a flood the head and the tail."""

    def __init__(self, pipe: IO[bytes], most: int) -> None:
        self._pipe = pipe
        os.set_blocking(pipe.fileno(), False)
        self._most = most
        self._head = bytearray()
        self._tail = b""
        self.readable = True

    def fileno(self) -> int:
        """Of the pipe."""
        return self._pipe.fileno()

    def read(self) -> bool:
        """Read once; whether there was something."""
        try:
            data = os.read(self._pipe.fileno(), 65536)
        except BlockingIOError:
            return False
        if not data:
            self.readable = False
        elif len(self._head) < self._most:
            self._head += data
        else:
            self._tail = (self._tail + data)[-_TAIL:]
        return bool(data)

    def read_rest(self) -> None:
        """Read what is in the pipe now, and no more: a grandchild may keep it open and go on writing."""
        for _ in range(64):
            if not self.read():
                break

    @property
    def is_cut(self) -> bool:
        """Whether something is missing between head and tail."""
        return bool(self._tail)

    def text(self) -> str:
        """All that was kept."""
        rest = LEFT_OUT.encode() + self._tail if self._tail else b""
        return (bytes(self._head) + rest).decode("utf-8", "replace")

    def close(self) -> None:
        """Give the pipe back."""
        self._pipe.close()


class Child:
    """One program in a session of its own; the kernel kills it when the calling thread ends.

    Parameters
    ----------
    command
        Argument list.
    folder
        Working directory; None: this process's own.
    env
        Its environment.
    ceiling
        What it may take; None: its limits are this process's own, and what it prints is kept: sbatch hands
        limits on to jobs.
    stdin
        What it reads, as `subprocess.Popen` takes it.
    """

    def __init__(
        self, command: Sequence[str], folder: Path | None, env: Mapping[str, str], ceiling: Ceiling | None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:  # fmt: skip
        self._started = time.monotonic()
        self._descendants = Descendants()
        self._process = self._descendants.start(
            command,
            (_DIE_WITH_PARENT, *(ceiling.calls() if ceiling else ())),
            cwd=folder,
            env=env,
            stdin=stdin,
            stdout=subprocess.DEVNULL if ceiling else subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stderr is not None
        self._errors = Stream(self._process.stderr, _HEAD)
        self._output = Stream(self._process.stdout, MOST_OUTPUT) if self._process.stdout else None
        self._timed_out = False
        self._folder = folder
        self._ceiling = ceiling
        self._excess: Excess | None = None
        self._seconds = 0.0

    def streams(self) -> list[Stream]:
        """What it prints into."""
        return [self._errors, *([self._output] if self._output else [])]

    def ended(self) -> bool:
        """Whether it has ended, whoever holds its pipes; one that prints without end is killed."""
        if self._output and self._output.is_cut and not self._excess:
            self._excess = Excess("output", f"more than {MOST_OUTPUT >> 20} MiB")
            self._kill_group()
        if self._process.poll() is None:
            return False
        self._seconds = self._seconds or time.monotonic() - self._started
        return True

    def time_out(self) -> None:
        """Say that its deadline has come."""
        if not self.ended():
            self._timed_out = True

    def look(self) -> None:
        """Kill it if it is above its ceiling."""
        if self._ceiling and not self.ended() and not self._excess:
            self._excess = self._ceiling.broken_by(self._process.pid)
            if self._excess:
                self._kill_group()

    def end(self) -> None:
        """Kill it, and all that descends from it; also in another thread than the one that waits for it."""
        self._kill_group()
        self._process.wait()
        self._descendants.end()

    def kill(self) -> None:
        """Do the same, and give its pipes back."""
        self.end()
        for stream in self.streams():
            stream.close()

    def _kill_group(self) -> None:
        # All at once, also those that go on forking. It may hold grandchildren although its leader is gone.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def finish(self) -> Finished:
        """How it has ended, by itself or at its deadline."""
        if self._timed_out:
            self._kill_group()
            self._process.wait()
        for stream in self.streams():
            stream.read_rest()
        return Finished(
            self._process.returncode,
            self._errors.text(),
            self._timed_out,
            self._seconds or time.monotonic() - self._started,
            self._excess,
            self._folder or Path(),
            self._output.text() if self._output else "",
        )
