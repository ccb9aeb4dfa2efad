"""Reads lists of names and scores from a MATLAB file (.mat, version 5) with scipy, within bounds."""

from __future__ import annotations

import io
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.common.text import size
from vmafarm.labels.cells import MOST_BYTES, MOST_CELLS, as_text
from vmafarm.labels.headers import MOS_COLUMNS, NAME_COLUMNS
from vmafarm.labels.label_table import LabelTable
from vmafarm.labels.messages import listed

_MARK = b"MATLAB 5.0 MAT-file"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HEADER_BYTES = 128
_COMPRESSED = 15
_STEP = 1 << 20
_SAVE = "in MATLAB, save it again with save(..., '-v7'), or write names and scores to a CSV file"
_Array = NDArray[Any]


def is_matlab(path: Path, data: bytes) -> bool:
    """Whether a file is one of MATLAB's, of any version."""
    return path.suffix.lower() == ".mat" or data.startswith((b"MATLAB ", _HDF5))


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
    UnavailableError
        scipy is not installed.
    """
    shown = show(str(path))
    if data.startswith((b"MATLAB 7.3", _HDF5)):
        raise UsageError(f"{shown}: a MATLAB file of version 7.3 (HDF5), expected version 5 or 7", _SAVE)
    if not data.startswith(_MARK):
        raise UsageError(f"{shown}: no MATLAB file of version 5 or 7, expected one, or CSV", _SAVE)
    try:
        from scipy.io import loadmat
    except ImportError:
        raise UnavailableError(
            f"{shown}: a MATLAB file, which the package scipy reads; it is not installed",
            'pip install "vmafarm[mat]", or write names and scores to a CSV file',
        ) from None
    try:
        _require_small(path, data)
        found = loadmat(io.BytesIO(data), squeeze_me=True, chars_as_strings=True)
        columns = _columns(found)
    except (UsageError, MemoryError):
        raise
    except Exception as error:  # scipy checks little: damage shows as any error
        problem = show(f"{type(error).__name__}: {error}"[:200].replace("\n", " "))
        raise UsageError(
            f"{shown}: a MATLAB file that scipy cannot read: {problem}", f"is it cut or damaged? {_SAVE}"
        ) from None
    if not columns:
        raise UsageError(
            f"{shown}: no lists in its variables {listed(sorted(found))}; expected a cell array of names and "
            "a vector of scores",
            "write names and scores to a CSV file",
        )
    rows = len(next(iter(columns.values())))
    return LabelTable(list(columns), list(columns.values()), list(range(1, rows + 1)), place="row")


def _require_small(path: Path, data: bytes) -> None:
    """Refuse a file that unpacks to more than `MOST_BYTES`, without keeping what it unpacks to."""
    order = ">" if data[126:128] == b"MI" else "<"
    total, at = 0, _HEADER_BYTES
    while at + 8 <= len(data):
        kind, length = struct.unpack_from(f"{order}II", data, at)
        at += 8
        if kind == _COMPRESSED:
            unpacker, part = zlib.decompressobj(), data[at : at + length]
            while part and total <= MOST_BYTES:
                total += len(unpacker.decompress(part, _STEP))
                part = unpacker.unconsumed_tail
        at += length
    if total > MOST_BYTES:
        raise UsageError(
            f"{show(str(path))}: a MATLAB file that unpacks to more than {size(MOST_BYTES)}",
            "write names and scores to a CSV file",
        )


def _columns(found: dict[str, object]) -> dict[str, list[str]]:
    """Lists of one length: that of the scores, or else of most lists."""
    lists: dict[str, _Array] = {}
    for name, value in found.items():
        if not name.startswith("__") and isinstance(value, np.ndarray):
            lists.update(_lists(name, value))
    if not lists:
        return {}
    known = [len(value) for name, value in lists.items() if name.lower() in MOS_COLUMNS + NAME_COLUMNS]
    length = Counter(known or [len(value) for value in lists.values()]).most_common(1)[0][0]
    kept = {name: value for name, value in lists.items() if len(value) == length}
    if length * len(kept) > MOST_CELLS:
        raise ValueError(f"more than {MOST_CELLS:,} cells")
    return {name: [_cell(value) for value in values.tolist()] for name, values in kept.items()}


def _lists(name: str, value: Any) -> dict[str, _Array]:
    if value.dtype.names:
        if value.ndim == 0:  # a struct of lists
            inner = {field: value[field].item() for field in value.dtype.names}
            fields = {field: found for field, found in inner.items() if isinstance(found, np.ndarray)}
            return {
                key: part for field, found in fields.items() for key, part in _lists(field, found).items()
            }
        if value.ndim == 1:  # a list of structs
            return {field: value[field] for field in value.dtype.names}
        return {}
    return {name: value} if value.ndim == 1 and len(value) and value.dtype.kind in "OUSfiu" else {}


def _cell(value: object) -> str:
    """A value as text; an array of one value is that value, one of none is ""."""
    if isinstance(value, np.ndarray):
        return _cell(value.item()) if value.size == 1 and not value.dtype.names else ""
    if isinstance(value, np.generic):
        value = value.item()
    return as_text(value) if isinstance(value, (str, float, int)) else ""
