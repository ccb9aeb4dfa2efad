"""Reads delimited text: which character separates the columns, and every row, or a message with its line."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from vmafarm.common.errors import UsageError, show
from vmafarm.labels.headers import is_header, known_headers
from vmafarm.labels.label_table import LabelTable
from vmafarm.labels.messages import listed, refuse
from vmafarm.labels.numbers import has_decimal_comma

MOST_COLUMNS = 10_000
_BLOCK = 512
"""Rows at a time: with more, Python's garbage collector looks through them again and again."""

_SAMPLED_LINES = 100
_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", " ": "blanks"}
"""Characters that separate columns. Where two fit alike, a tab or a semicolon in each line is taken: names
with one of them are rare, while a comma may be that of a decimal number."""
_PREFERRED = "\t;, "


class _Block(NamedTuple):
    """Rows, and the lines on which they stand: row i from index ends[i] to before ends[i + 1]."""

    rows: list[list[str]]
    ends: Sequence[int]


def read_delimited(path: Path, text: str, undecoded: bytes = b"", *notes: str) -> LabelTable:
    """Read text with commas, semicolons, tabs or blanks between the columns, with or without a header.

    Parameters
    ----------
    path
        Named in messages.
    text
        All of the file; not blank.
    undecoded
        As in `LabelTable`.
    *notes
        What was assumed so far.

    Raises
    ------
    UsageError
        A row has too few or too many fields, or its quotes are not closed. The message names the line.
    """
    told = [note for note in notes if note]
    delimiter, width = _sniff(text)
    if delimiter == " ":
        text = text.replace("\t", " ")
    lines = io.StringIO(_close_up(text, delimiter), newline="").readlines()
    # Python's reader rather than a faster one: it reads a million rows in a second, never guesses
    # types, and knows the line it is on.
    blocks = _blocks(path, lines, delimiter)
    first, begin, end, rest = _first(path, blocks)
    cells = _stripped(first, lines[begin:end])
    header = cells if is_header(cells, decimal_comma=delimiter != ",") else []
    used = max(at for at, cell in enumerate(cells, 1) if cell)
    if header and used > MOST_COLUMNS:
        refuse(path, begin + 1, f"{used:,} columns, expected at most {MOST_COLUMNS:,}")
    quoted = lines if '"' in text else []
    if header:
        layout = _Layout(path, quoted, len(header), used, f": {listed(header)}")
    else:
        told.append("there is no header")
        width = min(max(width, used), MOST_COLUMNS)
        layout = _Layout(path, quoted, width, width, " as in most lines")
        layout.add(_Block([first], [begin, end]))
    for block in chain([rest], blocks):
        layout.add(block)
    comma = False
    if delimiter != ",":
        told.append(f"{_DELIMITERS[delimiter]} separate the columns")
        comma = any(has_decimal_comma(column) for column in layout.columns)
        if comma:
            told.append("numbers have a decimal comma")
    return LabelTable(header[:used], layout.columns, layout.numbers, tuple(told), comma, undecoded=undecoded)


class _Layout:
    """Takes rows that have `used` columns; `width` fields are expected, of which the last may have no use."""

    def __init__(self, path: Path, lines: list[str], width: int, used: int, told: str) -> None:
        # Lines matter only where something may be quoted.
        self._path, self._lines, self._width, self._used, self._told = path, lines, width, used, told
        self.columns: list[list[str]] = [[] for _ in range(used)]
        self.numbers: list[int] = []

    def add(self, block: _Block) -> None:
        """Take some rows; blank ones are left out."""
        rows, ends = block
        begins = ends[:-1]
        parts = _columns(rows) if set(map(len, rows)) == {self._used} else []
        if parts and "" not in parts[0]:
            ends = ends[1:]
        else:
            kept = [(row, at) for at, cells in enumerate(rows) if (row := self._fitted(cells, ends[at]))]
            rows = [row for row, _ in kept]
            begins, ends = [begins[at] for _, at in kept], [ends[at + 1] for _, at in kept]
            parts = _columns(rows)
        for at, part in enumerate(parts):
            if self._lines:
                for i, row in enumerate(rows):
                    if row[at] != part[i]:
                        part[i] = _stripped([row[at]], self._lines[begins[i] : ends[i]])[0]
            self.columns[at].extend(part)
        if isinstance(begins, range) and begins:
            begins = range(begins[0] + 1, begins[-1] + 2)
        else:
            begins = [begin + 1 for begin in begins]
        self.numbers.extend(begins)

    def _fitted(self, cells: list[str], begin: int) -> list[str]:
        """The row with as many cells as there are columns; empty if it is blank."""
        if not any(cell.strip() for cell in cells):
            return []
        # A spreadsheet keeps the separators of columns that have neither a name nor a value.
        if len(cells) < self._used or any(cell.strip() for cell in cells[self._width :]):
            refuse(
                self._path, begin + 1, f"{len(cells)} fields, expected {self._width}{self._told}",
                "put names that contain a separator, such as a comma, in double quotes",
            )  # fmt: skip
        return cells[: self._used]


def _columns(rows: list[list[str]]) -> list[list[str]]:
    return [list(map(str.strip, part)) for part in zip(*rows, strict=True)]


def _blocks(path: Path, lines: list[str], delimiter: str) -> Iterator[_Block]:
    """All rows, some thousands at a time: faster than one by one."""

    def reader_from(line: int) -> Any:
        return csv.reader(islice(lines, line, None), delimiter=delimiter, strict=True, skipinitialspace=True)

    reader, end = reader_from(0), 0
    while end < len(lines):
        begin = end
        try:
            rows = list(islice(reader, _BLOCK))
        except csv.Error:
            rows = []
        end = reader.line_num
        if len(rows) == end - begin:
            yield _Block(rows, range(begin, end + 1))
            continue
        # Some rows have several lines, or one is not CSV: once more, row by row.
        again, ends = reader_from(begin), [begin]
        rows = []
        try:
            for row in islice(again, _BLOCK):
                rows.append(row)
                ends.append(begin + again.line_num)
        except csv.Error as error:
            hint = 'a name with quotes is written as "like ""this"".mp4"'
            refuse(path, ends[-1] + 1, f"not CSV: {show(str(error))}", hint)
        yield _Block(rows, ends)


def _first(path: Path, blocks: Iterator[_Block]) -> tuple[list[str], int, int, _Block]:
    """The first row that is not blank, the lines on which it stands, and what follows it in its block."""
    for rows, ends in blocks:
        for at, row in enumerate(rows):
            if any(cell.strip() for cell in row):
                return row, ends[at], ends[at + 1], _Block(rows[at + 1 :], ends[at + 1 :])
    raise UsageError(f"{show(str(path))}: only separators, expected names and scores", "correct the file")


def _stripped(cells: list[str], lines: list[str]) -> list[str]:
    """Cells without white space around them; where it stands in quotes it belongs to a cell."""
    found = []
    for cell in cells:
        quoted = cell != cell.strip() and '"' + cell.replace('"', '""') + '"' in "".join(lines)
        found.append(cell if quoted and cell.strip() else cell.strip())
    return found


def _sniff(text: str) -> tuple[str, int]:
    """What separates the columns, and how many fields most lines have."""
    stream = io.StringIO(text, newline="")
    lines = [line for line in islice(stream, _SAMPLED_LINES) if line.strip()]
    best: tuple[tuple[int, float, int], str, int] | None = None
    for delimiter in _DELIMITERS:
        rows = _sampled(lines, delimiter)
        fields = Counter(len(row) for row in rows)
        fields.pop(1, None)
        usual, count = fields.most_common(1)[0] if fields else (1, 0)
        known = known_headers(rows[0]) if rows and count else 0
        rank = (known, count / max(len(rows), 1), -_PREFERRED.index(delimiter))
        if best is None or rank > best[0]:
            best = (rank, delimiter, usual)
    if best is None or not best[0][1]:
        return ",", 1
    return best[1], best[2]


def _sampled(lines: list[str], delimiter: str) -> list[list[str]]:
    if delimiter == " ":
        lines = [f"{line.rstrip()}\n".replace("\t", " ") for line in lines]
    try:
        rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
    except csv.Error:
        return []
    return [row for row in rows if any(cell.strip() for cell in row)]


def _close_up(text: str, delimiter: str) -> str:
    """Drop white space between a closing quote and the end of its field, which the reader refuses."""
    if '"' not in text:
        return text
    blanks = " " if delimiter == "\t" else "\t" if delimiter == " " else " \t"
    pattern = re.compile(rf'"[{blanks}]+(?=[{delimiter}\r\n]|\Z)')
    parts = []
    at = quotes = 0
    for found in pattern.finditer(text):
        quotes += text.count('"', at, found.end())
        closing = quotes % 2 == 0
        parts.append(text[at : found.start() + 1] if closing else text[at : found.end()])
        at = found.end()
    return "".join([*parts, text[at:]])
