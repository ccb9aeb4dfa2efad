"""All that a label file says about the clips of a run, as a table: ``labels.parquet``."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress

import pyarrow as pa

from vmafarm.common.errors import UsageError, show
from vmafarm.common.layout import unbroken
from vmafarm.corpus.chosen import Chosen
from vmafarm.disk import durable
from vmafarm.disk.regular_files import read_regular
from vmafarm.disk.sealed_parquet import write_sealed
from vmafarm.run_folder.label_columns import NAME
from vmafarm.run_folder.paths import RunFolder

_EXACT = 2**53
"""A double represents all integers up to this one."""


def describe_labels(chosen: Chosen, carry: Sequence[str]) -> tuple[list[tuple[str, int]], list[str]]:
    """Return name and position of each further column of the label file, and what to tell about them.

    Parameters
    ----------
    chosen
        The corpus.
    carry
        ``corpus.carry``: the columns that must be there.

    Raises
    ------
    UsageError
        ``corpus.carry`` names a column that the file does not have, or one that two columns share.
    """
    table = chosen.table
    columns: list[tuple[str, int]] = []
    notes = []
    if table is not None:
        taken = {NAME}
        for at in (at for at in range(len(table.columns)) if at not in chosen.used):
            header = table.header[at] if at < len(table.header) else ""
            name = _free_name(header or f"column_{at + 1}", taken)
            taken.add(name.lower())
            columns.append((name, at))
            if header and name != header:
                notes.append(
                    f'the label column "{show(header)}" is called {unbroken(name)} in labels.parquet'
                )
    names = [name for name, _ in columns]
    unknown = [name for name in carry if name not in names]
    if unknown:
        there = ", ".join(map(show, names)) or "none besides names and scores"
        raise UsageError(
            f"corpus.carry: the label file has no column {', '.join(map(show, unknown))}; "
            f"its other columns are: {there}",
            "name columns as they are written there, or leave corpus.carry out",
        )
    return columns, notes


def _free_name(name: str, taken: set[str]) -> str:
    """The name, with a number behind it if there is such a column: SQL ignores the case of letters."""
    free, number = name, 1
    while free.lower() in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def write_labels(
    folder: RunFolder, names: Sequence[str], chosen: Chosen, columns: Sequence[tuple[str, int]]
) -> None:
    """Write what the label file says about each clip of a plan, unless it stands there already.

    Parameters
    ----------
    folder
        The run.
    names
        The clips of its newest plan.
    chosen
        The corpus.
    columns
        As `describe_labels` returns them; where there are none, no file is begun.

    Raises
    ------
    UnavailableError
        The run folder cannot be written.
    """
    if not columns and not folder.labels.exists():
        return
    sink = io.BytesIO()
    write_sealed(_make_table(names, chosen, columns), sink)
    content = sink.getvalue()
    with suppress(OSError):
        if read_regular(folder.labels) == content:
            return
    durable.replace(folder.labels, lambda file: file.write(content))


def _make_table(names: Sequence[str], chosen: Chosen, columns: Sequence[tuple[str, int]]) -> pa.Table:
    rows: list[int | None] = [None] * len(names)
    if chosen.table is not None and chosen.corpus.scores is not None:
        row_of_score = _rows(chosen)
        row_of = {
            name: row_of_score[place]
            for name, place in zip(chosen.corpus.joined.names, chosen.corpus.places.tolist(), strict=True)
            if place >= 0
        }
        rows = [row_of.get(name) for name in names]
    arrays = [pa.array(list(names), pa.string())]
    for _, at in columns:
        assert chosen.table is not None
        cells = chosen.table.columns[at]
        if chosen.table.undecoded:  # what its bytes mean is not known
            cells = [cell.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for cell in cells]
        arrays.append(
            _array([None if row is None else cells[row] for row in rows], chosen.table.decimal_comma)
        )
    return pa.Table.from_arrays(arrays, names=[NAME, *(name for name, _ in columns)])


def _rows(chosen: Chosen) -> Sequence[int]:
    """Row of each score in the label file."""
    scores = chosen.corpus.scores
    assert scores is not None
    return [int(row) for row in scores.rows]


def _array(cells: Sequence[str | None], decimal_comma: bool) -> pa.Array:
    """Cells as numbers where all are; empty ones are null."""
    filled = [cell for cell in cells if cell]
    numbers = {cell: _number(cell, decimal_comma) for cell in set(filled)}
    if filled and None not in numbers.values():
        return pa.array([numbers[cell] if cell else None for cell in cells], pa.float64(), from_pandas=False)
    return pa.array([cell or None for cell in cells], pa.string())


def _number(cell: str, decimal_comma: bool) -> float | None:
    """The number that a cell is; None: it is text, such as an id with zeros in front or of many digits."""
    text = cell.replace(",", ".") if decimal_comma else cell
    digits = text.lstrip("+-")
    if "_" in text or (digits.isdecimal() and digits != "0" and digits.startswith("0")):
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return None if digits.isdecimal() and abs(number) > _EXACT else number
