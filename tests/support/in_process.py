"""Runs the command vmafarm in this process: without the imports of each start."""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

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


def vmafarm_here(*arguments: str | Path, status: int | None = 0) -> str:
    """What a verb prints to its standard output, and where it fails as it should, to its standard error.

    Parameters
    ----------
    *arguments
        Of the command.
    status
        The exit status that is expected; None: any.
    """
    out, aside = io.StringIO(), io.StringIO()
    words = ["vmafarm", *map(os.fspath, arguments)]
    with mock.patch.object(sys, "argv", words), redirect_stdout(out), redirect_stderr(aside):
        ended = __main__._run()
    assert status is None or ended == status, out.getvalue() + aside.getvalue()
    return aside.getvalue() if status else out.getvalue()
