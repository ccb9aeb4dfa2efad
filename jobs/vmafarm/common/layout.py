"""How text fits the terminal: long lines are wrapped, labels stand in a column of their own."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

from vmafarm.common.errors import show
from vmafarm.common.say import on_terminal, text_width
from vmafarm.common.text import size

_NO_BREAK = "\N{NO-BREAK SPACE}"
_ENDLESS = 1 << 30


def unbroken(text: str) -> str:
    """Text that `wrapped` keeps on one line, such as a path or a number with its unit."""
    return show(text).replace(" ", _NO_BREAK)


def wrapped(
    text: str, first: str = "", then: str | None = None, width: int | None = None, *, strict: bool = False
) -> list[str]:
    """Text as lines that fit.

    Parameters
    ----------
    text
        What is not printable is escaped, line breaks too: nobody's text forges a line.
    first, then
        What the first line and those below it begin with; `then` defaults to spaces as wide as `first`.
    width
        Columns; None: those of the terminal.
    strict
        Break words longer than a line, too. Else they stay whole, since paths and digests are copied.
    """
    then = " " * len(first) if then is None else then
    room = max(1, (width or text_width()) - len(then))
    shown = _NO_BREAK.join(map(show, text.expandtabs().split(_NO_BREAK)))
    parts = textwrap.wrap(shown, room, break_long_words=strict, break_on_hyphens=False) or [""]
    lines = [(then if at else first) + part for at, part in enumerate(parts)]
    return [line.replace(_NO_BREAK, " ").rstrip() for line in lines]


def labelled(
    rows: Iterable[tuple[str, str]], column: int = 17, width: int | None = None, *, strict: bool = False
) -> list[str]:
    """Labels, and beside each its text, wrapped below itself.

    Parameters
    ----------
    rows
        Label and text.
    column
        Where the texts begin.
    width, strict
        As for `wrapped`.
    """
    below = " " * column
    return [
        line
        for label, text in rows
        for line in wrapped(text, f"{label:<{column}}", below, width, strict=strict)
    ]


def written(path: Path, *facts: str) -> list[str]:
    """What a verb says of a file that it wrote: ``written: all.parquet, 24 rows, 1.5 MB``.

    Parameters
    ----------
    path
        As the user named it.
    *facts
        Of its content, such as the number of its rows; its size is added.

    Returns
    -------
    list of str
        One line, or on a narrow terminal as many as it takes.
    """
    text = ", ".join(map(unbroken, (str(path), *facts, size(path.stat().st_size))))
    return wrapped(text, "written: ", width=None if on_terminal() else _ENDLESS)
