"""How messages show cells, columns and rows of label files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from vmafarm.common.errors import UsageError, show


def refuse(
    path: Path, line: int, problem: str, hint: str = "correct the file", place: str = "line"
) -> NoReturn:
    """Raise UsageError about a line of a file, or about a row of a sheet (`place`)."""
    raise UsageError(f"{show(str(path))}, {place} {line}: {problem}", hint)


def quote(text: str) -> str:
    """Show a cell in quotes; a long one is cut."""
    short = text if len(text) <= 80 else text[:77] + "..."
    return f'"{show(short)}"'


def listed(header: Sequence[str]) -> str:
    """The columns of a header for a message."""
    return ", ".join(quote(cell) for cell in header[:20]) + (", ..." if len(header) > 20 else "")
