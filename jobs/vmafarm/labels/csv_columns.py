"""Reads two columns of a CSV file of names, and refuses every doubtful line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.disk.regular_files import NOT_AS_EXPECTED, read_regular
from vmafarm.labels.encoding import decode_text

NAME_COLUMNS = ("clip_name", "video_name", "file_name", "filename", "name")
"""Headers of the column of names; the first one found is used."""

_COLUMNS = 10_000
_BLANKS_AFTER_QUOTE = re.compile(r'"[ \t]+(?=[,\r\n]|\Z)')


@dataclass(frozen=True)
class Wanted:
    """A column of a CSV file.

    Attributes
    ----------
    asked
        Its header; empty: the first of `known`.
    known
        Headers that it may have, in any case of letters.
    option
        What names another column, for messages.
    """

    asked: str
    known: Sequence[str]
    option: str


def read_text(path: Path, what: str, hint: str) -> str:
    """Read a CSV file as text.

    Parameters
    ----------
    path
        The file.
    what
        What it holds, for messages.
    hint
        What to do if it is none.

    Raises
    ------
    UsageError
        It is missing, not a file, empty or in another encoding.
    UnavailableError
        It cannot be read.
    """
    shown = show(str(path))
    try:
        data = read_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{shown}: no such file, expected a CSV file of {what}", hint) from None
    except OSError as error:
        if error.errno in NOT_AS_EXPECTED:
            raise UsageError(f"{shown}: {error.strerror}: a CSV file of {what}", hint) from None
        raise UnavailableError(
            f"cannot read the {what} {shown}: {error.strerror}", "make the file readable"
        ) from None
    text = decode_text(path, data)
    if not text.strip():
        raise UsageError(f"{shown}: empty, expected a header and one row per clip", hint)
    return text


def read_columns(
    path: Path, text: str, name: Wanted, value: Wanted
) -> tuple[list[str], list[str], list[str], list[int]]:
    """Header, names, values as text, and the number of the line on which each row begins.

    Parameters
    ----------
    path
        Named in messages.
    text
        As `read_text` returns it.
    name, value
        The two columns to read.

    Raises
    ------
    UsageError
        A column is missing, or a row has too few or too many fields, or no name.
    """
    lines = io.StringIO(_close_up(text), newline="").readlines()
    # Python's reader rather than a faster one: it reads a million rows in a second, never guesses
    # types, and knows the line it is on.
    reader = csv.reader(lines, strict=True, skipinitialspace=True)
    header: list[str] = []
    names: list[str] = []
    texts: list[str] = []
    numbers: list[int] = []
    end = name_at = value_at = named = 0
    try:
        for row in reader:
            begin, end = end, reader.line_num
            if not any(cell.strip() for cell in row):
                continue
            if not header:
                header = [cell.strip() for cell in row]
                named = max(at for at, cell in enumerate(header, 1) if cell)
                if named > _COLUMNS:
                    refuse(path, begin + 1, f"{named:,} columns, expected at most {_COLUMNS:,}")
                name_at, value_at = _find(path, header, name), _find(path, header, value)
                continue
            # A spreadsheet keeps the commas of columns that have neither a name nor a value.
            if len(row) < named or any(cell.strip() for cell in row[len(header) :]):
                refuse(
                    path, begin + 1, f"{len(row)} fields, expected {len(header)}: {listed(header)}",
                    "put names that contain a comma in double quotes",
                )  # fmt: skip
            cell = row[name_at]
            if cell != cell.strip() and not _is_quoted(cell, lines[begin:end]):
                cell = cell.strip()
            if not cell.strip():
                refuse(path, begin + 1, f'an empty name in the column "{show(header[name_at])}"')
            names.append(cell)
            texts.append(row[value_at])
            numbers.append(begin + 1)
    except csv.Error as error:
        refuse(path, end + 1, f"not CSV: {error}", 'a name with quotes is written as "like ""this"".mp4"')
    return header, names, texts, numbers


def _close_up(text: str) -> str:
    """Drop white space between a closing quote and the end of its field, which the reader refuses."""
    parts = []
    at = quotes = 0
    for found in _BLANKS_AFTER_QUOTE.finditer(text):
        quotes += text.count('"', at, found.end())
        closing = quotes % 2 == 0
        parts.append(text[at : found.start() + 1] if closing else text[at : found.end()])
        at = found.end()
    return "".join([*parts, text[at:]])


def _is_quoted(field: str, lines: list[str]) -> bool:
    """Whether the field stands in quotes in its row, so that its white space belongs to it."""
    return '"' + field.replace('"', '""') + '"' in "".join(lines)


def _find(path: Path, header: list[str], column: Wanted) -> int:
    """Position of a column: the one that was asked for, or the first known one."""
    if column.asked:
        found = [i for i, cell in enumerate(header) if cell == column.asked]
        wanted = f'"{show(column.asked)}" ({column.option})'
    else:
        lowered = [cell.lower() for cell in header]
        first = next((name for name in column.known if name in lowered), None)
        found = [i for i, cell in enumerate(lowered) if cell == first]
        wanted = f"one of {', '.join(column.known)}"
    if not found:
        raise UsageError(
            f"{show(str(path))}: the columns are {listed(header)}; expected {wanted}",
            f"the first line must be the header, with commas; or name the column with {column.option}",
        )
    if len(found) > 1:
        raise UsageError(
            f"{show(str(path))}: {len(found)} columns are called {show(header[found[0]])}, expected one",
            f"rename one of them, or name another column with {column.option}",
        )
    return found[0]


def refuse(path: Path, line: int, problem: str, hint: str = "correct the file") -> NoReturn:
    """Raise UsageError about a line of a file."""
    raise UsageError(f"{show(str(path))}, line {line}: {problem}", hint)


def quote(text: str) -> str:
    """Show a cell in quotes; a long one is cut."""
    short = text if len(text) <= 80 else text[:77] + "..."
    return f'"{show(short)}"'


def listed(header: Sequence[str]) -> str:
    """The columns of a header for a message."""
    return ", ".join(quote(cell) for cell in header[:20]) + (", ..." if len(header) > 20 else "")
