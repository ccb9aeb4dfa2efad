"""A label file as text: its header and the cells of each column."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.disk.regular_files import read_regular


@dataclass(frozen=True, eq=False)
class LabelTable:
    """A label file as text.

    Attributes
    ----------
    header
        Names of the columns, "" where a column has none; empty where the file has no header.
    columns
        Cells of each column as text, white space around them removed unless quoted; all of length rows.
    lines
        Number of the line (row of a sheet) of each row, from 1.
    notes
        What was assumed and must be told, one short sentence each.
    decimal_comma
        Whether numbers have a decimal comma.
    """

    header: list[str]
    columns: list[list[str]]
    lines: list[int]
    notes: tuple[str, ...] = ()
    decimal_comma: bool = False


def read_label_table(path: Path, *, sheet: str = "") -> LabelTable:
    """Read a CSV file with a header.

    Raises
    ------
    UsageError
        It is no such file.
    UnavailableError
        It cannot be read.
    """
    shown = show(str(path))
    try:
        data = read_regular(path)
        encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        reader = csv.reader(io.StringIO(data.decode(encoding), newline=""), skipinitialspace=True)
        rows, lines, end = [], [], 0
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append([cell.strip() for cell in row])
                lines.append(end + 1)
            end = reader.line_num
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise UsageError(f"{shown}: no such file, expected a CSV file of scores") from None
    except OSError as error:
        raise UnavailableError(f"cannot read the scores {shown}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{shown}: not CSV: {show(str(error))}") from None
    if not rows:
        raise UsageError(f"{shown}: empty, expected a header and one row per clip")
    width = len(rows[0])
    body = [[*row, *[""] * width][:width] for row in rows[1:]]
    columns = [list(cells) for cells in zip(*body, strict=True)] or [[] for _ in range(width)]
    return LabelTable(rows[0], columns, lines[1:])
