"""Tables of cells that are text already: what workbooks and MATLAB files are made into."""

from __future__ import annotations

import math
from datetime import date, datetime, time

from vmafarm.labels.headers import is_header
from vmafarm.labels.label_table import LabelTable

MOST_BYTES = 1 << 28
"""Of what a compressed file may hold: some millions of rows. A few kilobytes can hold a terabyte of zeros."""

MOST_CELLS = 20_000_000


def as_text(value: object) -> str:
    """Return a cell as the shortest text that says the same; no value is "", and so is NaN."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(float(value))
    if isinstance(value, int):
        return repr(int(value)) if abs(value) < 10**300 else repr(float("inf"))
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return str(value).strip()


def table_of_rows(rows: list[list[str]], lines: list[int], *notes: str) -> LabelTable:
    """Make a table of rows of a sheet: shorter ones are filled up, blank ones are left out.

    Parameters
    ----------
    rows
        Cells; the first that is not blank is the header if it looks like one.
    lines
        Number of each row, from 1.
    *notes
        What was assumed so far.
    """
    kept = [(row, line) for row, line in zip(rows, lines, strict=True) if any(row)]
    first = kept[0][0] if kept else []
    header = first if is_header(first, decimal_comma=False) else []
    if kept and not header:
        notes = (*notes, "there is no header")
    body = kept[1:] if header else kept
    width = max((at for row, _ in kept for at, cell in enumerate(row, 1) if cell), default=0)
    header = header and (header + [""] * width)[:width]
    filled = [(row + [""] * width)[:width] for row, _ in body]
    columns = [[row[at] for row in filled] for at in range(width)]
    return LabelTable(header, columns, [line for _, line in body], notes, place="row")
