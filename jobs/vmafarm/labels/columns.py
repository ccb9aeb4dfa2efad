"""Which column of a label file holds the names, and which the scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from vmafarm.common.errors import UsageError, show
from vmafarm.labels.encoding import refuse_undecoded
from vmafarm.labels.headers import MOS_COLUMNS, NAME_COLUMNS
from vmafarm.labels.label_table import LabelTable
from vmafarm.labels.messages import listed, quote
from vmafarm.labels.numbers import to_number, to_numbers

_SAMPLE = 100


@dataclass(frozen=True)
class Asked:
    """What the user says about the columns; see the keys of ``[corpus]`` with the same names.

    Attributes
    ----------
    columns
        Names of the columns in order, with commas, for a file without header; empty: by its header.
    name_column, mos_column
        Headers; empty: the known ones.
    mos_min, mos_max
        Range of possible scores, both ends included.
    """

    columns: str = ""
    name_column: str = ""
    mos_column: str = ""
    mos_min: float = 1.0
    mos_max: float = 5.0


@dataclass(frozen=True)
class Wanted:
    """A column of a label file.

    Attributes
    ----------
    asked
        Its header; empty: one of `known`.
    known
        Headers that it may have, in any case of letters; the best guess first.
    option
        What names another column, for messages.
    """

    asked: str
    known: Sequence[str]
    option: str


@dataclass(frozen=True)
class Chosen:
    """Positions of the columns that may hold the names, the best guess first, and of that of the scores."""

    names: tuple[int, ...]
    mos: int
    titles: list[str]
    notes: tuple[str, ...] = ()


def choose_columns(path: Path, table: LabelTable, asked: Asked) -> Chosen:
    """Find the columns by what the user says, by known headers, or without a header by what they hold.

    Parameters
    ----------
    path
        Named in messages.
    table
        The file.
    asked
        What the user says.

    Raises
    ------
    UsageError
        A column is missing or there are several of its name; ``corpus.columns`` does not fit the file.
    """
    name = Wanted(asked.name_column, NAME_COLUMNS, "corpus.name_column")
    mos = Wanted(asked.mos_column, MOS_COLUMNS, "corpus.mos_column")
    if asked.columns:
        header = _as_listed(path, table, asked.columns)
        name, mos = Wanted(name.asked, ("name",), name.option), Wanted(mos.asked, ("mos",), mos.option)
    elif table.header:
        header = table.header
    elif asked.name_column or asked.mos_column:
        raise UsageError(
            f"{show(str(path))}: no header, but {name.option if name.asked else mos.option} names a column",
            'say which column is what: corpus.columns = "name,,mos" (an empty word: a column of no use)',
        )
    else:
        return _guess(path, table, asked)
    places = tuple(find_columns(path, header, name))
    (score, *_) = find_columns(path, header, mos)
    return Chosen(places, score, header)


def find_columns(path: Path, header: Sequence[str], wanted: Wanted) -> list[int]:
    """Return positions of the columns that are meant, the best guess first; at least one.

    Raises
    ------
    UsageError
        There is none, or there are several with the same header.
    """
    if wanted.asked:
        keys, cells = [wanted.asked], list(header)
        told = f'"{show(wanted.asked)}" ({wanted.option})'
    else:
        keys, cells = list(wanted.known), [cell.lower() for cell in header]
        told = f"one of {', '.join(wanted.known)}"
    found = []
    for key in keys:
        places = [at for at, cell in enumerate(cells) if cell == key]
        if len(places) > 1:
            raise UsageError(
                f"{show(str(path))}: {len(places)} columns are called {show(header[places[0]])}, expected "
                "one",
                f"rename one of them, or name another column with {wanted.option}",
            )
        found += places
    if not found:
        raise UsageError(
            f"{show(str(path))}: the columns are {listed(header)}; expected {told}",
            f'name the column with {wanted.option}; a file without header: corpus.columns = "name,,mos"',
        )
    return found


def require_decoded(path: Path, table: LabelTable, places: Sequence[int]) -> None:
    """Refuse a file of an unknown encoding where that matters: in cells of these columns."""
    if not table.undecoded:
        return
    for at in places:
        for cell, line in zip(table.columns[at], table.lines, strict=True):
            if not cell.isascii():
                refuse_undecoded(path, table.undecoded, line)


def _as_listed(path: Path, table: LabelTable, columns: str) -> list[str]:
    """The words of ``corpus.columns``, one for each column of the file."""
    words = [word.strip() for word in columns.split(",")]
    used = [word for word in words if word]
    if "name" not in used or "mos" not in used or len(set(used)) < len(used):
        raise UsageError(
            f"corpus.columns is {quote(columns)}; expected the words name and mos, each word once",
            'for example corpus.columns = "name,,,mos"; an empty word is a column that is not used',
        )
    last = max(at for at, word in enumerate(words, 1) if word)
    if last > len(table.columns):
        raise UsageError(
            f"{show(str(path))}: {len(table.columns)} columns: {listed(_first(table))}; "
            f"corpus.columns names {last}",
            "name the columns in the order of the file",
        )
    return (words + [""] * len(table.columns))[: len(table.columns)]


def _first(table: LabelTable) -> list[str]:
    return table.header or [column[0] if column else "" for column in table.columns]


def _guess(path: Path, table: LabelTable, asked: Asked) -> Chosen:
    """Without header: names in the first column that is not of numbers, scores in the last one in range."""
    scales = f"numbers from {asked.mos_min:g} to {asked.mos_max:g}"
    numeric = [at for at, column in enumerate(table.columns) if _is_numeric(column, table)]
    name = next((at for at in range(len(table.columns)) if at not in numeric), 0)
    shares = {at: _share_in_range(table.columns[at], table, asked) for at in numeric if at != name}
    if not shares:
        raise UsageError(
            f"{show(str(path))}: no header, and the first row is {listed(_first(table))}; expected a "
            f"column of names and one of {scales}",
            'is this the file of scores? if so: corpus.columns = "name,,mos" says which column is what',
        )
    mos = max(shares, key=lambda at: (shares[at], at))
    note = f"names are in column {name + 1}, scores in column {mos + 1}"
    if sum(share == shares[mos] for share in shares.values()) > 1:
        note += f", the last one of {scales}; corpus.columns names others"
    return Chosen((name,), mos, table.titles, (note,))


def _is_numeric(column: list[str], table: LabelTable) -> bool:
    """Whether most of the first cells are numbers: a bad score among them gets a message of its own."""
    cells = list(islice((cell for cell in column if cell), _SAMPLE))
    numbers = [to_number(cell, decimal_comma=table.decimal_comma) for cell in cells]
    return sum(number is not None for number in numbers) * 2 > len(cells)


def _share_in_range(column: list[str], table: LabelTable, asked: Asked) -> float:
    numbers = to_numbers([cell for cell in column if cell], decimal_comma=table.decimal_comma)
    return float(np.mean((numbers >= asked.mos_min) & (numbers <= asked.mos_max)))
