"""One running child process: its output, its end, and the cleanup of its descendants."""

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
"""Runs in the child between fork and exec; see `vmafarm.process.descendants.in_child`."""
_HEAD = 256 * 1024
_TAIL = 64 * 1024
MOST_OUTPUT = 64 * 1024 * 1024
"""Limit of the output of `vmafarm.process.run.ask`, in bytes; a queue of a million jobs is shorter."""


class Stream:
    """Reads the output of a child from a pipe; keeps the head and the tail if there is too much."""

    def __init__(self, pipe: IO[bytes], most: int) -> None:
        self._pipe = pipe
        os.set_blocking(pipe.fileno(), False)
        self._most = most
        self._head = bytearray()
        self._tail = b""
        self.readable = True

    def fileno(self) -> int:
        """Return the file descriptor of the pipe."""
        return self._pipe.fileno()

    def read(self) -> bool:
        """Read once; return whether there was any data."""
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
        """Read what is in the pipe now, and stop: a grandchild may keep it open and go on writing."""
        for _ in range(64):
            if not self.read():
                break

    @property
    def is_cut(self) -> bool:
        """Whether something is missing between head and tail."""
        return bool(self._tail)

    def text(self) -> str:
        """Return the output that was kept."""
        rest = LEFT_OUT.encode() + self._tail if self._tail else b""
        return (bytes(self._head) + rest).decode("utf-8", "replace")

    def close(self) -> None:
        """Close the pipe."""
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
        Its limits. None: it inherits those of this process, since sbatch passes limits on to jobs, and its
        standard output is kept.
    stdin
        Its standard input, as for `subprocess.Popen`.
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
        """Return the streams of its output."""
        return [self._errors, *([self._output] if self._output else [])]

    def ended(self) -> bool:
        """Whether it has ended, even if its pipes are still open; kill it if it prints too much."""
        if self._output and self._output.is_cut and not self._excess:
            self._excess = Excess("output", f"more than {MOST_OUTPUT >> 20} MiB")
            self._kill_group()
        if self._process.poll() is None:
            return False
        self._seconds = self._seconds or time.monotonic() - self._started
        return True

    def time_out(self) -> None:
        """Mark it as timed out if it is still running."""
        if not self.ended():
            self._timed_out = True

    def look(self) -> None:
        """Kill it if it exceeds its ceiling."""
        if self._ceiling and not self.ended() and not self._excess:
            self._excess = self._ceiling.broken_by(self._process.pid)
            if self._excess:
                self._kill_group()

    def end(self) -> None:
        """Kill it and all of its descendants; may be called from a thread other than the waiting one."""
        self._kill_group()
        self._process.wait()
        self._descendants.end()

    def kill(self) -> None:
        """Do the same, and close its pipes."""
        self.end()
        for stream in self.streams():
            stream.close()

    def _kill_group(self) -> None:
        # All at once, since some may go on forking. The group may have members although its leader has ended.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def finish(self) -> Finished:
        """Return the result; kill the child first if it timed out."""
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
