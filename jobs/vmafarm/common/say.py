"""All that is shown goes through here: a terminal gets printable text and line breaks, and nothing else.

Records, logs, names and answers of programs come from others, and a terminal obeys what it is sent: a
sequence of control characters can hide lines, rewrite them, or type. `vmafarm.common.errors.show` escapes one
line; what draws (a bar, a table in place) escapes by `printable` what it is given.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Protocol

from vmafarm.common.errors import show


class Sink(Protocol):
    """What text is written to."""

    def write(self, text: str, /) -> object:
        """Take it."""


class _LastLine:
    """The line at which a terminal is, while something is drawn there in place.

    Attributes
    ----------
    hide
        Erases what is drawn; None: nothing is.
    """

    def __init__(self) -> None:
        self.hide: Callable[[], None] | None = None
        self._lock = threading.RLock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other threads from it; but not for ever, since a stopped terminal may keep one of them."""
        is_mine = self._lock.acquire(timeout=1)
        try:
            yield
        finally:
            if is_mine:
                self._lock.release()

    @contextmanager
    def free(self) -> Iterator[None]:
        """As `held`, with nothing drawn there."""
        with self.held():
            if self.hide is not None:
                self.hide()
            yield


LAST_LINE = _LastLine()


def printable(text: str) -> str:
    """Text of any number of lines, each escaped; tabs become spaces."""
    return text if text.isprintable() else "\n".join(show(line.expandtabs()) for line in text.split("\n"))


def say(*lines: str, file: IO[str] | None = None) -> None:
    """Show lines; an item may be several of them.

    Parameters
    ----------
    *lines
        Anything: what is not printable is escaped.
    file
        Where; None: the standard output.
    """
    file = sys.stdout if file is None else file
    with LAST_LINE.free():
        for line in lines:
            file.write(f"{printable(line)}\n")
        file.flush()


def say_aside(*lines: str) -> None:
    """The same beside the output: on the standard error."""
    say(*lines, file=sys.stderr)


def standard_error() -> IO[str]:
    """The standard error, for what takes a file."""
    return sys.stderr


def terminal_width() -> int:
    """Columns of the terminal, or by the variable COLUMNS; 80 where there is neither."""
    return shutil.get_terminal_size().columns


def on_terminal() -> bool:
    """Whether the standard output is a terminal."""
    return sys.stdout.isatty()


def text_width() -> int:
    """Columns for text: 80, or fewer where the standard output is a terminal that has fewer; at least 30."""
    return max(30, min(80, terminal_width())) if on_terminal() else 80


class Shown:
    """The standard output for code that writes to a file; escapes as `say` does."""

    def write(self, text: str, /) -> None:
        """Show a part of the text."""
        sys.stdout.write(printable(text))


def data_sink() -> Sink:
    """Where an answer as data goes, such as CSV: unchanged to a file or a pipe, escaped to a terminal."""
    return Shown() if sys.stdout.isatty() else sys.stdout


def to_json(document: Any, indent: int | None = None) -> str:
    r"""JSON that is valid and printable: NaN and infinity are null, and control characters ``\u....``.

    Parameters
    ----------
    document
        What JSON has no type for becomes text.
    indent
        As `json.dumps` takes it.
    """
    text = json.dumps(plain(document), ensure_ascii=False, allow_nan=False, default=str, indent=indent)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _as_json(c) for c in text)


def _as_json(character: str) -> str:
    # JSON allows DEL as it is.
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def plain(value: Any) -> Any:
    """A value as JSON has it: NaN and infinity are null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    return value
