"""How a child process has ended."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vmafarm.common.errors import show

LEFT_OUT = "\n[... cut ...]\n"
"""Stands in error output where the middle of a flood was left out."""
_CRASHES = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV}


@dataclass(frozen=True)
class Excess:
    """What a process had too much of when it was killed for that.

    Attributes
    ----------
    what
        Which limit it broke.
    amount
        How much it had, in words.
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
        Its error output; of a flood the first 256 KiB and the last 64 KiB.
    timed_out
        It was killed at its deadline.
    seconds
        Wall time.
    excess
        What it was killed for having too much of, if it was.
    folder
        Its working folder.
    stdout
        What it has printed, where that was to be kept.
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
        """Whether it died of a fault of its own, and not of a signal that others send."""
        return -self.returncode in _CRASHES and self.excess is None

    def last_lines(self, count: int = 8) -> list[str]:
        """Last non-empty lines of the error output, each cut at 300 characters."""
        return _last_lines(self.stderr, count)

    def why(self, count: int = 8) -> str:
        """Why it failed, for a terminal: its last lines, of the output where it has said no error, or how it
        ended.
        """
        if self.excess:
            return str(self.excess)
        if self.timed_out:
            return self.ending()
        said = self.last_lines(count) or _last_lines(self.stdout, count)
        return "\n".join(map(show, said)) or self.ending()

    def ending(self) -> str:
        """How it ended, in words."""
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
