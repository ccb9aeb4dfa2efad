"""Reads opinion scores from a CSV file, and refuses every doubtful line."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.corpus.encoding import decode_text
from vmafarm.disk.regular_files import NOT_AS_EXPECTED, read_regular

NAME_COLUMNS = ("clip_name", "video_name", "file_name", "filename", "name")
"""Headers of the column of names; the first one found is used."""

MOS_COLUMNS = ("mos", "video_score", "score")
"""Headers of the column of scores. KoNViD-150k's set A has ``video_score`` alone; set B has ``mos``
beside it, and there ``mos`` is the score on the scale from 1 to 5."""

_EXAMPLES = 3
_COLUMNS = 10_000
_BLANKS_AFTER_QUOTE = re.compile(r'"[ \t]+(?=[,\r\n]|\Z)')


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores by name, each name once, in the order of the file.

    Attributes
    ----------
    names
        As the file has them, white space around them removed (inside quotes it is kept).
    mos
        float64, shape (names,), finite and in range.
    duplicates
        Names of rows that repeat an earlier row.
    """

    names: list[str]
    mos: NDArray[np.float64]
    duplicates: list[str]


def read_scores(path: Path, *, name_column: str, mos_column: str, mos_min: float, mos_max: float) -> Scores:
    """Read a CSV file with a header: UTF-8, or UTF-16 with BOM; any line ends, quotes as needed.

    Parameters
    ----------
    path
        The file.
    name_column, mos_column
        Headers of the two columns; empty: the first of `NAME_COLUMNS` and of `MOS_COLUMNS`.
    mos_min, mos_max
        Range of possible scores, both ends included.

    Returns
    -------
    Scores
        Rows that say the same twice are collapsed.

    Raises
    ------
    UsageError
        The file is missing, not a file, empty or in another encoding; a column is missing; a row has too few
        or too many fields, no name, or a score that is not a number in range; two rows contradict
        each other. The message names the line.
    UnavailableError
        The file cannot be read.
    """
    text = _read_text(path)
    lines = io.StringIO(_close_up(text), newline="").readlines()
    header, names, texts, numbers = _read_columns(path, lines, name_column, mos_column)
    if not names:
        raise UsageError(
            f"{show(str(path))}: a header but no scores, expected one row per clip",
            f"the columns are: {_list(header)}",
        )
    mos = _to_numbers(path, names, texts, numbers, mos_min, mos_max)
    return _collapse(path, names, mos, numbers)


def _read_text(path: Path) -> str:
    hint = "name the CSV file of scores: corpus.scores, or SCORES= with make"
    shown = show(str(path))
    try:
        data = read_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{shown}: no such file, expected a CSV file of scores", hint) from None
    except OSError as error:
        if error.errno in NOT_AS_EXPECTED:
            raise UsageError(f"{shown}: {error.strerror}: a CSV file of scores", hint) from None
        raise UnavailableError(
            f"cannot read the scores {shown}: {error.strerror}", "make the file readable"
        ) from None
    text = decode_text(path, data)
    if not text.strip():
        raise UsageError(f"{shown}: empty, expected a header and one row per clip", hint)
    return text


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


def _read_columns(
    path: Path, lines: list[str], name_column: str, mos_column: str
) -> tuple[list[str], list[str], list[str], list[int]]:
    """Header, names, scores as text, and the number of the line on which each row begins."""
    # Python's reader rather than a faster one: it reads a million rows in a second, never guesses
    # types, and knows the line it is on.
    reader = csv.reader(lines, strict=True, skipinitialspace=True)
    header: list[str] = []
    names: list[str] = []
    texts: list[str] = []
    numbers: list[int] = []
    end = name_at = mos_at = named = 0
    try:
        for row in reader:
            begin, end = end, reader.line_num
            if not any(cell.strip() for cell in row):
                continue
            if not header:
                header = [cell.strip() for cell in row]
                named = max(at for at, cell in enumerate(header, 1) if cell)
                if named > _COLUMNS:
                    _refuse(path, begin + 1, f"{named:,} columns, expected at most {_COLUMNS:,}")
                name_at = _find(path, header, name_column, NAME_COLUMNS, "name_column")
                mos_at = _find(path, header, mos_column, MOS_COLUMNS, "mos_column")
                continue
            # A spreadsheet keeps the commas of columns that have neither a name nor a value.
            if len(row) < named or any(cell.strip() for cell in row[len(header) :]):
                _refuse(
                    path, begin + 1, f"{len(row)} fields, expected {len(header)}: {_list(header)}",
                    "put names that contain a comma in double quotes",
                )  # fmt: skip
            name = row[name_at]
            if name != name.strip() and not _is_quoted(name, lines[begin:end]):
                name = name.strip()
            if not name.strip():
                _refuse(path, begin + 1, f'an empty name in the column "{show(header[name_at])}"')
            names.append(name)
            texts.append(row[mos_at])
            numbers.append(begin + 1)
    except csv.Error as error:
        _refuse(path, end + 1, f"not CSV: {error}", 'a name with quotes is written as "like ""this"".mp4"')
    return header, names, texts, numbers


def _is_quoted(field: str, lines: list[str]) -> bool:
    """Whether the field stands in quotes in its row, so that its white space belongs to it."""
    return '"' + field.replace('"', '""') + '"' in "".join(lines)


def _find(path: Path, header: list[str], asked: str, known: Sequence[str], key: str) -> int:
    """Position of a column: the one that was asked for, or the first known one."""
    if asked:
        found = [i for i, cell in enumerate(header) if cell == asked]
        wanted = f'"{show(asked)}" (corpus.{key})'
    else:
        lowered = [cell.lower() for cell in header]
        first = next((name for name in known if name in lowered), None)
        found = [i for i, cell in enumerate(lowered) if cell == first]
        wanted = f"one of {', '.join(known)}"
    if not found:
        raise UsageError(
            f"{show(str(path))}: the columns are {_list(header)}; expected {wanted}",
            f"the first line must be the header, with commas; or name the column with corpus.{key}",
        )
    if len(found) > 1:
        raise UsageError(
            f"{show(str(path))}: {len(found)} columns are called {show(header[found[0]])}, expected one",
            f"rename one of them, or name another column with corpus.{key}",
        )
    return found[0]


def _to_numbers(
    path: Path, names: list[str], texts: list[str], numbers: list[int], low: float, high: float
) -> NDArray[np.float64]:
    try:
        if "_" in "".join(texts):  # float() takes 1_0 for 10
            raise ValueError
        mos = np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        mos = np.array([_number(text) for text in texts])
    bad = np.flatnonzero(~((mos >= low) & (mos <= high)))
    if bad.size:
        at = int(bad[0])
        text = texts[at].strip()
        number = _number(text)
        expected = f"expected a number from {low:g} to {high:g}"
        what = "out of range" if math.isfinite(number) else "not a number"
        more = f" (and {bad.size - 1:,} more such rows)" if bad.size > 1 else ""
        _refuse(
            path, numbers[at], f"the score {_quote(text)} of {_quote(names[at])} is {what}, {expected}{more}",
            "correct the rows, or set corpus.mos_min and corpus.mos_max to the range of these scores",
        )  # fmt: skip
    return mos


def _number(text: str) -> float:
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def _collapse(path: Path, names: list[str], mos: NDArray[np.float64], numbers: list[int]) -> Scores:
    """Drop rows that repeat an earlier one; refuse those that contradict it."""
    if len(set(names)) == len(names):
        return Scores(names, mos, [])
    first: dict[str, int] = {}
    repeated: list[int] = []
    conflicts: list[str] = []
    for at, name in enumerate(names):
        before = first.setdefault(name, at)
        if before == at:
            continue
        repeated.append(at)
        if mos[before] != mos[at]:
            conflicts.append(
                f"  {_quote(name)}: {mos[before]:.17g} on line {numbers[before]}, "
                f"{mos[at]:.17g} on line {numbers[at]}"
            )
    if conflicts:
        shown = conflicts[:_EXAMPLES]
        if len(conflicts) > len(shown):
            shown.append(f"  and {len(conflicts) - len(shown):,} more")
        raise UsageError(
            "\n".join([f"{show(str(path))}: the same name with different scores:", *shown]),
            "keep one score per name",
        )
    keep = list(first.values())
    return Scores([names[at] for at in keep], mos[keep], [names[at] for at in repeated])


def _refuse(path: Path, line: int, problem: str, hint: str = "correct the file") -> NoReturn:
    raise UsageError(f"{show(str(path))}, line {line}: {problem}", hint)


def _quote(text: str) -> str:
    short = text if len(text) <= 80 else text[:77] + "..."
    return f'"{show(short)}"'


def _list(header: Sequence[str]) -> str:
    return ", ".join(_quote(cell) for cell in header[:20]) + (", ..." if len(header) > 20 else "")
