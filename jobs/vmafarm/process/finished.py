"""The result of a child process."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vmafarm.common.errors import show

LEFT_OUT = "\n[... cut ...]\n"
"""Marks where the middle of long output was cut."""
_CRASHES = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV}


@dataclass(frozen=True)
class Excess:
    """The limit for which a process was killed.

    Attributes
    ----------
    what
        The limit that it exceeded.
    amount
        How much it used, for a message.
    """

    what: Literal["memory", "log", "output"]
    amount: str

    def __str__(self) -> str:
        return f"{self.what}: {self.amount}"


@dataclass(frozen=True)
class Finished:
    """How a child process ended.

    Attributes
    ----------
    returncode
        Exit status, or minus the number of the signal that killed it.
    stderr
        Its error output; if that is longer, the first 256 KiB and the last 64 KiB.
    timed_out
        It was killed at its deadline.
    seconds
        Wall time.
    excess
        The limit for which it was killed, if any.
    folder
        Its working folder.
    stdout
        Its standard output, if it was kept.
    """

    returncode: int
    stderr: str
    timed_out: bool
    seconds: float
    excess: Excess | None = None
    folder: Path = field(default_factory=Path)
    stdout: str = ""

    @property
    def cut(self) -> bool:
        """Whether the middle of its error output is missing."""
        return LEFT_OUT in self.stderr

    @property
    def crashed(self) -> bool:
        """Whether it crashed by itself, rather than by a signal that other processes send."""
        return -self.returncode in _CRASHES and self.excess is None

    def last_lines(self, count: int = 8) -> list[str]:
        """Return the last non-empty lines of the error output, each cut at 300 characters."""
        return _last_lines(self.stderr, count)

    def why(self, count: int = 8) -> str:
        """Say why it failed, for a terminal.

        The limit that it exceeded, or its last lines of error output (of standard output, if there are none),
        or how it ended.
        """
        if self.excess:
            return str(self.excess)
        if self.timed_out:
            return self.ending()
        said = self.last_lines(count) or _last_lines(self.stdout, count)
        return "\n".join(map(show, said)) or self.ending()

    def ending(self) -> str:
        """Say how it ended."""
        if self.timed_out:
            return f"did not end within {self.seconds:.0f} s"
        if self.returncode >= 0:
            return f"exit status {self.returncode}"
        try:
            return f"killed by {signal.Signals(-self.returncode).name}"
        except ValueError:
            return f"killed by signal {-self.returncode}"


def _last_lines(text: str, count: int) -> list[str]:
    lines = [line.strip()[:300] for line in text.splitlines()]
    return [line for line in lines if line][-count:]
