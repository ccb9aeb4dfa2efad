"""Reads lists of names and scores from a MATLAB file (.mat, version 5)."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vmafarm.common.errors import UsageError, show
from vmafarm.common.text import size
from vmafarm.labels.cells import MOST_BYTES
from vmafarm.labels.headers import MOS_COLUMNS, NAME_COLUMNS
from vmafarm.labels.label_table import LabelTable
from vmafarm.labels.mat5 import TooLargeError, Value, variables
from vmafarm.labels.messages import listed

_MARK = b"MATLAB 5.0 MAT-file"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_SAVE = "in MATLAB, save it again with save(..., '-v7'), or write names and scores to a CSV file"


def is_matlab(path: Path, data: bytes) -> bool:
    """Whether a file is one of MATLAB's, of any version."""
    return path.suffix.lower() == ".mat" or data.startswith((_MARK, b"MATLAB 7.3 MAT-file", _HDF5))


def read_matlab(path: Path, data: bytes) -> LabelTable:
    """Read the lists of one length: cell arrays of strings and vectors of numbers, also in a struct.

    Parameters
    ----------
    path
        Named in messages.
    data
        Content of the file.

    Returns
    -------
    LabelTable
        Names of the variables are its header. An empty cell and NaN are "".

    Raises
    ------
    UsageError
        It is of another version, damaged or too large, or has no lists.
    """
    shown = show(str(path))
    if data.startswith((b"MATLAB 7.3", _HDF5)):
        raise UsageError(f"{shown}: a MATLAB file of version 7.3 (HDF5), expected version 5 or 7", _SAVE)
    if not data.startswith(_MARK):
        raise UsageError(f"{shown}: no MATLAB file of version 5 or 7, expected one, or CSV", _SAVE)
    try:
        found = dict(variables(data))
        columns = _columns(found)
    except TooLargeError:
        raise UsageError(
            f"{shown}: a MATLAB file that unpacks to more than {size(MOST_BYTES)}",
            "write names and scores to a CSV file",
        ) from None
    except (ValueError, struct.error, zlib.error) as error:
        problem = show(str(error)[:200].replace("\n", " "))
        raise UsageError(
            f"{shown}: a damaged MATLAB file: {problem}", f"download or copy it again; or {_SAVE}"
        ) from None
    if not columns:
        raise UsageError(
            f"{shown}: no lists in its variables {listed(sorted(found))}; expected a cell array of names and "
            "a vector of scores",
            "write names and scores to a CSV file",
        )
    rows = len(next(iter(columns.values())))
    return LabelTable(list(columns), list(columns.values()), list(range(1, rows + 1)), place="row")


def _columns(found: dict[str, Value]) -> dict[str, list[str]]:
    """Lists of one length: that of the scores, or else of most lists."""
    lists = dict(_lists(found))
    if not lists:
        return {}
    known = [len(value) for name, value in lists.items() if name.lower() in MOS_COLUMNS + NAME_COLUMNS]
    length = Counter(known or [len(value) for value in lists.values()]).most_common(1)[0][0]
    return {name: value for name, value in lists.items() if len(value) == length}


def _lists(found: dict[str, Value]) -> Iterator[tuple[str, list[str]]]:
    for name, value in found.items():
        if isinstance(value, dict):
            yield from _lists(value)
        elif isinstance(value, list) and value:
            yield name, value
