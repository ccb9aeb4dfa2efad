"""Reads a sheet of a workbook (.xlsx) with openpyxl, within bounds: the file may be of a stranger."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.common.text import size
from vmafarm.labels.cells import MOST_BYTES, MOST_CELLS, as_text, table_of_rows
from vmafarm.labels.headers import known_headers
from vmafarm.labels.label_table import LabelTable
from vmafarm.labels.messages import quote

_MARK = b"PK\x03\x04"
_MOST_ROWS = 1 << 20
_MOST_MEMBERS = 10_000
_FIRST_ROWS = 20
_SAVE = "open it in a spreadsheet, and save it again as .xlsx or as CSV"


def is_workbook(data: bytes) -> bool:
    """Whether a file is a zip archive, as workbooks are."""
    return data.startswith(_MARK)


def read_workbook(path: Path, data: bytes, sheet: str = "") -> LabelTable:
    """Read a sheet; numbers become the shortest text that says the same, formulas their saved values.

    Parameters
    ----------
    path
        Named in messages.
    data
        Content of the file.
    sheet
        Its title; empty: the first sheet with a known header, else the first one.

    Raises
    ------
    UsageError
        It is no sound workbook, is too large, or has no such sheet.
    UnavailableError
        openpyxl is not installed.
    """
    try:
        import openpyxl
    except ImportError:
        raise UnavailableError(
            f"{show(str(path))}: a workbook (.xlsx), which the package openpyxl reads; it is not installed",
            'pip install "vmafarm[xlsx]", or save the sheet as CSV',
        ) from None
    _require_small(path, data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and features that do not matter here
            book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
            return _read(path, {str(found.title): found for found in book.worksheets}, sheet)
    except (UsageError, MemoryError):
        raise
    except Exception as error:  # openpyxl checks little: damage shows as any error
        problem = show(f"{type(error).__name__}: {error}"[:200].replace("\n", " "))
        raise UsageError(
            f"{show(str(path))}: a zip archive, but no workbook that openpyxl can read: {problem}", _SAVE
        ) from None


def _require_small(path: Path, data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, UnicodeError) as error:
        raise UsageError(
            f"{show(str(path))}: begins as a workbook (.xlsx), but is damaged: {show(str(error))}",
            "download or copy it again",
        ) from None
    total = sum(member.file_size for member in members)
    if total > MOST_BYTES or len(members) > _MOST_MEMBERS:
        raise UsageError(
            f"{show(str(path))}: a workbook of {len(members):,} parts, which unpack to {size(total)}; "
            f"expected at most {_MOST_MEMBERS:,} and {size(MOST_BYTES)}",
            "save the sheet of scores as CSV",
        )


def _read(path: Path, sheets: dict[str, Any], sheet: str) -> LabelTable:
    titles = ", ".join(map(quote, list(sheets)[:20]))
    if not sheets or (sheet and sheet not in sheets):
        raise UsageError(
            f"{show(str(path))}: its sheets are {titles or 'none'}; expected "
            f"{quote(sheet) if sheet else 'at least one'} (corpus.sheet)",
            "name one of them with corpus.sheet",
        )
    title = sheet or next((name for name, found in sheets.items() if _has_known(found)), next(iter(sheets)))
    notes = [f"the sheet {quote(title)} of {len(sheets)} is read"] if len(sheets) > 1 and not sheet else []
    rows: list[list[str]] = []
    lines: list[int] = []
    cells = 0
    for line, row in enumerate(_rows(sheets[title]), 1):
        cells += len(row)
        if line > _MOST_ROWS or cells > MOST_CELLS:
            raise UsageError(
                f"{show(str(path))}: more than {_MOST_ROWS:,} rows or {MOST_CELLS:,} cells in the sheet "
                f"{quote(title)}",
                "save the columns of names and scores as CSV",
            )
        if row and any(cell is not None for cell in row):
            rows.append([as_text(cell) for cell in row])
            lines.append(line)
    if not rows:
        raise UsageError(
            f"{show(str(path))}: nothing in the sheet {quote(title)}; all of its sheets: {titles}",
            "name another with corpus.sheet",
        )
    return table_of_rows(rows, lines, *notes)


def _rows(sheet: Any) -> Iterator[tuple[object, ...]]:
    sheet.reset_dimensions()  # what the file says about its size may be wrong
    rows: Iterable[tuple[object, ...]] = sheet.iter_rows(values_only=True)
    yield from rows


def _has_known(sheet: Any) -> bool:
    for row in islice(_rows(sheet), _FIRST_ROWS):
        if any(cell is not None for cell in row):
            return known_headers([as_text(cell) for cell in row]) > 0
    return False
