"""Runs the command at a terminal, and sees the screen as its user does."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pexpect
import pyte
import pytest
from support.command import command


def pretend(monkeypatch: pytest.MonkeyPatch, columns: int = 80) -> io.StringIO:
    """Make this process's standard output a terminal, and return what is written to it."""
    file = io.StringIO()
    file.isatty = lambda: True
    monkeypatch.setattr("sys.stdout", file)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    return file


class Terminal:
    """The command at a pseudo-terminal; ends with the block.

    Parameters
    ----------
    *arguments
        Of the command.
    cwd
        Working folder.
    columns, rows
        Size of the screen.
    """

    def __init__(self, *arguments: str | Path, cwd: Path, columns: int = 80, rows: int = 24) -> None:
        program, *words = command(arguments)
        given = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "CI")}
        self.process = pexpect.spawn(
            program,
            words,
            cwd=str(cwd),
            dimensions=(rows, columns),
            env=given | {"TERM": "xterm-256color"},
            timeout=60,
            use_poll=True,  # a worker of the tests may have more files open than select() takes
        )
        self.process.logfile_read = self._written = io.BytesIO()
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.close(force=True)

    def type(self, text: str) -> None:
        """Type on the keyboard."""
        self.process.send(text)

    def wait(self, seen: Callable[[list[str]], bool]) -> list[str]:
        """Wait until the screen is as expected, and return its lines."""
        while not seen(self.lines()):
            try:
                self._stream.feed(self.process.read_nonblocking(4096))
            except (pexpect.TIMEOUT, pexpect.EOF) as error:
                screen = "\n".join(self.lines())
                raise AssertionError(f"{type(error).__name__}; the screen is\n{screen}") from None
        return self.lines()

    def end(self) -> list[str]:
        """Wait until the command ends; the last screen."""
        while True:
            try:
                self._stream.feed(self.process.read_nonblocking(4096))
            except pexpect.EOF:
                self.process.close()
                return self.lines()

    def lines(self) -> list[str]:
        """What stands on the screen now."""
        return [line.rstrip() for line in self._screen.display]

    def written(self) -> list[str]:
        """Lines as the command wrote them, which the screen may have had to fold."""
        return self._written.getvalue().decode().replace("\r\n", "\n").splitlines()

    def coloured(self) -> bool:
        """Whether anything on it has a colour."""
        return any(
            cell.fg != "default" or cell.bg != "default"
            for row in self._screen.buffer.values()
            for cell in row.values()
        )
