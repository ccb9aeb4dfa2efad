"""Tells what a command is doing where that takes long: one line on the standard error.

On a terminal the line is rewritten in place and erased at the end; in a log a line is added now and then.
The work itself only notes where it is. A thread reads that, so that a query that takes a minute is told as
well, and work that ends soon has paid for nothing but the start of a thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, TypeVar

from vmafarm.common.say import LAST_LINE, printable, say_aside, standard_error

if TYPE_CHECKING:
    from rich.live import Live

Item = TypeVar("Item")

AFTER_SECONDS = 2.0
"""Work that ends earlier is not told on a terminal."""
REFRESH_SECONDS = 0.25
LINE_SECONDS = 10.0
"""Pause before each line in a log, also before the first one."""


@dataclass(frozen=True)
class _Step:
    work: str = ""
    doing: str = ""
    items: str = ""
    done: Callable[[], int] | None = None
    total: int = 0

    def __str__(self) -> str:
        text = self.doing
        if self.done is not None:
            of = f" of {self.total:,}" if self.total else ""
            text = f"{text} {self.done():,}{of} {self.items}"
        return ": ".join(filter(None, (self.work, text)))


class _Now:
    """Of this process: whether steps are shown, the step, and the thread that shows it."""

    shown = False
    step = _Step()
    teller: _Teller | None = None


@contextmanager
def showing(wanted: bool = True) -> Iterator[None]:
    """Show the steps of the work in this block; elsewhere, as for notebooks, none are shown."""
    before, _Now.shown = _Now.shown, wanted
    try:
        yield
    finally:
        _Now.shown = before


@contextmanager
def working(work: str) -> Iterator[None]:
    """Show what this block is doing, if it takes longer than `AFTER_SECONDS`.

    Parameters
    ----------
    work
        What the line begins with, such as ``planning``; "": the steps alone say it. Within another such
        block it counts until this one ends.
    """
    before, _Now.step = _Now.step, _Step(work)
    teller = _Teller(standard_error()) if _Now.shown and _Now.teller is None else None
    if teller:
        _Now.teller = teller
    try:
        yield
    finally:
        _Now.step = before
        if teller:
            _Now.teller = None
            teller.end()


def step(doing: str, items: str = "", done: Callable[[], int] | None = None, total: int = 0) -> None:
    """Note what is being done from now on.

    Parameters
    ----------
    doing
        Such as ``writing the table``.
    items, done, total
        What is counted, how many of them are done, asked by another thread, and of how many (0: not known):
        ``reading 40,213 of 152,265 clips``.
    """
    _Now.step = _Step(_Now.step.work, doing, items, done, total)


def counting(given: Iterable[Item], doing: str, items: str, total: int = 0) -> Iterator[Item]:
    """Yield what is given, and note how much of it is done; see `step`."""
    done = 0
    step(doing, items, lambda: done, total)
    for one in given:
        yield one
        done += 1


class _Teller:
    """Shows the step, in a thread of its own, until `end`."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._in_place = file.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
        self._live: Live | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True, name="steps")
        self._thread.start()

    def _tell(self) -> None:
        if not self._in_place:
            while not self._over.wait(LINE_SECONDS):
                if text := str(_Now.step):
                    say_aside(text)
            return
        wait = AFTER_SECONDS
        while not self._over.wait(wait):
            wait = REFRESH_SECONDS
            self._draw()

    def _draw(self) -> None:
        # Here, since most commands end before they would need it.
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        text = Text(printable(str(_Now.step)), no_wrap=True, overflow="ellipsis")
        with LAST_LINE.held():
            if self._over.is_set():
                return
            if self._live is None:
                console = Console(file=self._file)
                self._live = Live(
                    text, console=console, auto_refresh=False, transient=True, redirect_stdout=False,
                    redirect_stderr=False,
                )  # fmt: skip
                LAST_LINE.hide = self._hide
                self._live.start()
                console.show_cursor()  # a command that is killed could not show it again
            self._live.update(text, refresh=True)

    def _hide(self) -> None:
        LAST_LINE.hide = None
        if self._live is not None:
            self._live.stop()
            self._live = None

    def end(self) -> None:
        """Show nothing any more."""
        self._over.set()
        with LAST_LINE.held():
            self._hide()
        self._thread.join(1)  # a terminal that was stopped (Ctrl-S) keeps it
