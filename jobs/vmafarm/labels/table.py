"""A label file as text, whatever its form: delimited text, a workbook or a MATLAB file."""

from __future__ import annotations

import os
from pathlib import Path

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.disk.regular_files import NOT_AS_EXPECTED, read_regular
from vmafarm.labels.delimited import read_delimited
from vmafarm.labels.encoding import decode_labels
from vmafarm.labels.label_table import LabelTable
from vmafarm.labels.matlab import is_matlab, read_matlab
from vmafarm.labels.workbook import is_workbook, read_workbook

_OLD_EXCEL = bytes.fromhex("d0cf11e0a1b11ae1")


def read_label_table(
    path: Path,
    *,
    sheet: str = "",
    encoding: str = "",
    what: str = "scores",
    hint: str = "name the file of scores: corpus.scores, or SCORES= with make",
) -> LabelTable:
    """Read a label file as it was downloaded; its content says which form it has, not its name.

    Parameters
    ----------
    path
        Text with commas, semicolons, tabs or blanks between the columns, with or without a header; a
        workbook (.xlsx); a MATLAB file of version 5 (.mat).
    sheet
        Sheet of a workbook; empty: the first one with a known header, else the first.
    encoding
        Of text, as Python names it; empty: UTF-8, or UTF-16 or UTF-32 with a byte order mark.
    what
        What it holds, for messages.
    hint
        What to do if it is no such file.

    Raises
    ------
    UsageError
        The file is missing, empty, damaged, too large or in another encoding; a row has too few or too many
        fields; there is no such sheet. The message names the line.
    UnavailableError
        The file cannot be read, or a package that reads its form is not installed.
    """
    shown = show(str(path))
    try:
        data = read_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{shown}: no such file, expected a CSV file of {what}", hint) from None
    except OSError as error:
        if error.errno in NOT_AS_EXPECTED:
            raise UsageError(f"{shown}: {error.strerror}: a CSV file of {what}", hint) from None
        reason = error.strerror or os.strerror(error.errno or 0)
        raise UnavailableError(
            f"cannot read the {what} {shown}: {reason}", "make the file readable"
        ) from None
    if data.startswith(_OLD_EXCEL):
        raise UsageError(
            f"{shown}: a workbook of Excel 97-2003 (.xls), expected .xlsx or CSV",
            "open it in a spreadsheet and save it as .xlsx or as CSV",
        )
    if is_workbook(data):
        return read_workbook(path, data, sheet)
    if sheet:
        raise UsageError(
            f"{shown}: not a workbook, but corpus.sheet is {show(sheet)}", "leave corpus.sheet out"
        )
    if is_matlab(path, data):
        return read_matlab(path, data)
    text, undecoded, note = decode_labels(path, data, encoding)
    if not text.strip():
        raise UsageError(f"{shown}: empty, expected a header and one row per clip", hint)
    return read_delimited(path, text, undecoded, note)
