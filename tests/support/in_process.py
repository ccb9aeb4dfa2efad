"""Runs the command vmafarm in this process: without the imports of each start."""

from __future__ import annotations

import signal
from dataclasses import dataclass

import pytest

from vmafarm import __main__


@dataclass(frozen=True)
class Said:
    """How a verb ended, and what it printed."""

    status: int
    stdout: str
    stderr: str


class Command:
    """The command line, in the working folder of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: str) -> Said:
        """Run a verb to its end."""
        self._monkeypatch.setattr("sys.argv", ["vmafarm", *words])
        before = signal.getsignal(signal.SIGTERM)
        try:
            status = __main__._run()
        finally:
            signal.signal(signal.SIGTERM, before)
        return Said(status, *self._capsys.readouterr())
