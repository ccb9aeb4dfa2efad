"""Reads opinion scores from a label file, and refuses every doubtful line."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.errors import UsageError, show
from vmafarm.common.text import counted
from vmafarm.config.sections import CorpusSection
from vmafarm.labels.columns import Asked, choose_columns, require_decoded
from vmafarm.labels.label_table import LabelTable
from vmafarm.labels.messages import listed, quote, refuse
from vmafarm.labels.numbers import to_number, to_numbers

_EXAMPLES = 3


def _no_rows() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


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
    rows
        int64, shape (names,): position of each in the rows of the `LabelTable`.
    name_column
        Header of the column of names; "column 1" where the file has no header.
    notes
        What was assumed about the file and must be told, one short sentence each.
    """

    names: list[str]
    mos: NDArray[np.float64]
    duplicates: list[str]
    rows: NDArray[np.int64] = field(default_factory=_no_rows)
    name_column: str = ""
    notes: tuple[str, ...] = ()


def asked_columns(corpus: CorpusSection) -> Asked:
    """Return what the configuration says about the columns of the file of scores, for `scores_in`."""
    return Asked(corpus.columns, corpus.name_column, corpus.mos_column, corpus.mos_min, corpus.mos_max)


def scores_in(path: Path, table: LabelTable, asked: Asked) -> list[Scores]:
    """Take the scores out of a label file.

    Parameters
    ----------
    path
        Of the file, for messages.
    table
        What `vmafarm.labels.table.read_label_table` has read.
    asked
        Which column is what, and the range of possible scores.

    Returns
    -------
    list of Scores
        One for each column that may be that of the names, the best guess first; at least one. Rows that say
        the same twice are collapsed, and rows without a score are left out.

    Raises
    ------
    UsageError
        A column is missing; a row has no name, or a score that is not a number in range; two rows contradict
        each other. The message names the line.
    """
    chosen = choose_columns(path, table, asked)
    if not table.lines:
        raise UsageError(
            f"{show(str(path))}: a header but no scores, expected one row per clip",
            f"the columns are: {listed(table.titles)}",
        )
    notes = [*table.notes, *chosen.notes]
    found: list[Scores] = []
    refused: list[UsageError] = []
    for at in chosen.names:
        try:
            found.append(_scores(path, table, asked, at, chosen.mos, chosen.titles[at]))
        except UsageError as error:
            refused.append(error)
            notes.append(f"names are not in the column {quote(chosen.titles[at])}: it cannot be used")
    if not found:
        raise refused[0]
    if len(found) > 1:
        others = ", ".join(quote(scores.name_column) for scores in found[1:])
        notes.append(f"other columns that may hold the names: {others}")
    return [replace(one, notes=(*notes, *one.notes)) for one in found]


def _scores(path: Path, table: LabelTable, asked: Asked, name_at: int, mos_at: int, title: str) -> Scores:
    require_decoded(path, table, (name_at, mos_at))
    names, texts = table.columns[name_at], table.columns[mos_at]
    rows = np.arange(len(names))
    if "" in names:
        refuse(
            path, table.lines[names.index("")], f"an empty name in the column {quote(title)}",
            place=table.place,
        )  # fmt: skip
    notes: tuple[str, ...] = ()
    if "" in texts:
        rows = np.array([at for at, text in enumerate(texts) if text], np.int64)
        notes = (f"{counted(len(texts) - len(rows), 'row')} without a score, left out",)
        names, texts = [names[at] for at in rows], [texts[at] for at in rows]
        if not names:
            raise UsageError(
                f"{show(str(path))}: no score in any of {len(table.lines):,} rows, expected one row per clip",
                "is it the right column? corpus.mos_column names another",
            )
    mos = _to_numbers(path, table, asked, names, texts, rows)
    kept, repeated = _collapse(path, table, names, mos, rows)
    if kept is not None:
        names, mos, rows = [names[at] for at in kept], mos[kept], rows[kept]
    return Scores(names, mos, repeated, rows, title, notes)


def _to_numbers(
    path: Path, table: LabelTable, asked: Asked, names: list[str], texts: list[str], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    mos = to_numbers(texts, decimal_comma=table.decimal_comma)
    bad = np.flatnonzero(~((mos >= asked.mos_min) & (mos <= asked.mos_max)))
    if bad.size:
        at = int(bad[0])
        text = texts[at].strip()
        expected = f"expected a number from {asked.mos_min:g} to {asked.mos_max:g}"
        number = to_number(text, decimal_comma=table.decimal_comma)
        what = "not a number" if number is None else "out of range"
        more = f" (and {bad.size - 1:,} more such rows)" if bad.size > 1 else ""
        refuse(
            path, table.lines[rows[at]],
            f"the score {quote(text)} of {quote(names[at])} is {what}, {expected}{more}",
            "correct the rows, or set corpus.mos_min and corpus.mos_max to the range of these scores",
            table.place,
        )  # fmt: skip
    return mos


def _collapse(
    path: Path, table: LabelTable, names: list[str], mos: NDArray[np.float64], rows: NDArray[np.int64]
) -> tuple[list[int] | None, list[str]]:
    """Rows to keep, without those that repeat an earlier one (None: all), and the names of the others."""
    if len(set(names)) == len(names):
        return None, []
    first: dict[str, int] = {}
    repeated: list[str] = []
    conflicts: list[str] = []
    for at, name in enumerate(names):
        before = first.setdefault(name, at)
        if before == at:
            continue
        repeated.append(name)
        if mos[before] != mos[at]:
            conflicts.append(
                f"  {quote(name)}: {mos[before]:.17g} on {table.place} {table.lines[rows[before]]}, "
                f"{mos[at]:.17g} on {table.place} {table.lines[rows[at]]}"
            )
    if conflicts:
        shown = conflicts[:_EXAMPLES]
        if len(conflicts) > len(shown):
            shown.append(f"  and {len(conflicts) - len(shown):,} more")
        raise UsageError(
            "\n".join([f"{show(str(path))}: the same name with different scores:", *shown]),
            "keep one score per name",
        )
    return list(first.values()), repeated
