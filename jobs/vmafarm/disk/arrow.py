"""Arrow from Python's values and back without pandas.

pyarrow's own ways look whether a value is one of pandas', and import it for that where it is installed:
0.3 s of a processor and 40 MB, of every element and of every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from numbers import Integral, Real
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_Values = Sequence[Any] | NDArray[Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def make_table(columns: Sequence[_Values], schema: pa.Schema) -> pa.Table:
    """Make a table without nulls.

    Parameters
    ----------
    columns
        Values of each column, as many in each: a list, or an array of NumPy of a type that fits.
    schema
        Of ``string``, ``bool``, ``float64``, ``int32``, ``int64`` or ``timestamp[us, UTC]`` alone.

    Raises
    ------
    TypeError
        A value is None, or of another type than its column's.
    OverflowError
        An integer, or all text of a column together (2 GB), is too large.
    """
    arrays = [_make_array(values, field) for values, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _make_array(values: _Values, field: pa.Field) -> pa.Array:
    kind = field.type
    if pa.types.is_string(kind):
        encoded = [text.encode() for text in _checked(values, str, field)]
        ends = np.fromiter(accumulate(map(len, encoded), initial=0), np.int64, len(encoded) + 1)
        if ends[-1] > np.iinfo(np.int32).max:
            raise OverflowError(f"more than 2 GB of text in {field.name}")
        buffers = [pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(encoded))]
    elif pa.types.is_boolean(kind):
        for value in values:
            if not isinstance(value, bool):
                raise TypeError(f"a value of {field.name} is {type(value).__name__}, expected {kind}")
        # Bits from the least significant on (Arrow columnar format, "Validity bitmaps").
        buffers = [pa.py_buffer(np.packbits(np.array(values, bool), bitorder="little").tobytes())]
    elif isinstance(values, np.ndarray):
        dtype = np.dtype(kind.to_pandas_dtype())
        buffers = [pa.py_buffer(np.ascontiguousarray(values.astype(dtype, casting="safe", copy=False)))]
    else:
        if pa.types.is_timestamp(kind):
            times = _checked(values, datetime, field)
            found, dtype = [(at - _EPOCH) // timedelta(microseconds=1) for at in times], np.dtype(np.int64)
        else:
            dtype = np.dtype(kind.to_pandas_dtype())
            found = _checked(values, Integral if dtype.kind == "i" else Real, field)
        buffers = [pa.py_buffer(np.array(found, dtype))]
    return pa.Array.from_buffers(kind, len(values), [None, *buffers])


def _checked(values: _Values, kind: type, field: pa.Field) -> list[Any]:
    # NumPy would make NaN of None, 1 of 1.5 and 1.0 of "1.0".
    for value in values:
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TypeError(f"a value of {field.name} is {type(value).__name__}, expected {field.type}")
    return list(values)


def take(table: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
    """The rows at these places, in their order."""
    return table.take(make_table([rows], pa.schema({"row": pa.int64()}))["row"])


def numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """Numbers of a column without nulls."""
    parts = [
        np.frombuffer(
            chunk.buffers()[1], chunk.type.to_pandas_dtype(), len(chunk), chunk.offset * chunk.type.byte_width
        )
        for chunk in column.chunks
    ]
    return np.concatenate(parts) if parts else np.empty(0, column.type.to_pandas_dtype())


def expanded_bytes(column: pa.ChunkedArray) -> int:
    """Size of all texts of a dictionary-encoded column once expanded, in bytes; nulls count nothing."""
    total = 0
    for chunk in column.chunks:
        texts = chunk.dictionary
        ends = np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1, 4 * texts.offset)
        total += int(np.diff(ends)[numbers(pa.chunked_array([chunk.indices.drop_null()]))].sum())
    return total
