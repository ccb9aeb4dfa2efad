"""Variables of a MATLAB file of version 5: lists of text.

Read here and not by scipy, whose compiled reader crashes (SIGSEGV) on some damaged files.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vmafarm.labels.cells import MOST_BYTES, as_text

Value = str | list[str] | dict[str, "Value"]
"""A scalar or a text; a vector, a list of cells or rows of characters; or a struct."""

_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR = 1, 2, 4
_SINGLE = 7
_NUMBERS = range(6, 16)
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
_DEEPEST = 20


class TooLargeError(ValueError):
    """The file unpacks to more than `MOST_BYTES`."""


def variables(data: bytes) -> Iterator[tuple[str, Value]]:
    """Names and values of the variables, except sparse matrices and objects.

    Raises
    ------
    TooLargeError
        It unpacks to too much; no more than `MOST_BYTES` are kept.
    ValueError, struct.error, zlib.error
        The file is damaged.
    """
    order = ">" if data[126:128] == b"MI" else "<"
    total = 0
    for kind, content in _elements(data[_HEADER_BYTES:], order):
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            content = unpacker.decompress(content, MOST_BYTES - total + 1)
            total += len(content)
            if total > MOST_BYTES:
                raise TooLargeError
            if not unpacker.eof:
                raise ValueError("a compressed variable is cut")
            kind, content = next(_elements(content, order), (0, b""))
        if kind == _MATRIX:
            yield _matrix(content, order, 0)


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Types and contents of what follows one another, each padded to 8 bytes unless it is compressed."""
    at = 0
    while at < len(data):
        (kind,) = struct.unpack_from(f"{order}I", data, at)
        if kind >> 16:  # up to four bytes, within the tag
            length, kind, begin = kind >> 16, kind & 0xFFFF, at + 4
            at += 8
        else:
            (length,) = struct.unpack_from(f"{order}I", data, at + 4)
            begin = at + 8
            at = begin + length + (-length % 8 if kind != _COMPRESSED else 0)
        if begin + length > len(data):
            raise ValueError(f"{length:,} bytes expected, {len(data) - begin:,} found")
        yield kind, data[begin : begin + length]


def _matrix(data: bytes, order: str, depth: int) -> tuple[str, Value]:
    if not data:
        return "", ""
    if depth > _DEEPEST:
        raise ValueError(f"cells within cells, more than {_DEEPEST} deep")
    parts = _elements(data, order)
    flags, shape, name = (next(parts, (0, b""))[1] for _ in range(3))
    kind = struct.unpack_from(f"{order}I", flags)[0] & 0xFF
    sizes = [int(size) for size in np.frombuffer(shape, f"{order}i4")]
    title = name.decode("utf-8", "replace")
    if kind == _CELL:
        return title, [_scalar(_matrix(part, order, depth + 1)[1]) for _, part in parts]
    if kind == _STRUCT:
        (width,) = struct.unpack_from(f"{order}i", next(parts, (0, b""))[1])
        names = next(parts, (0, b""))[1]
        if width < 1:
            raise ValueError("a struct whose fields have no names")
        fields = [
            names[at : at + width].split(b"\0")[0].decode("utf-8", "replace")
            for at in range(0, len(names), width)
        ]
        values = [_matrix(part, order, depth + 1)[1] for _, part in parts]
        if not fields or len(values) <= len(fields):
            return title, dict(zip(fields, values, strict=False))
        return title, {
            field: [_scalar(value) for value in values[at :: len(fields)]] for at, field in enumerate(fields)
        }
    if kind != _CHAR and kind not in _NUMBERS:
        return title, {}
    of, content = next(parts, (2, b""))
    if kind == _CHAR:
        return title, _characters(of, content, order, sizes)
    numbers: NDArray[np.generic] = np.frombuffer(content, order + _TYPES.get(of, "V0"))
    if kind <= _SINGLE:
        numbers = numbers.astype(np.float64)
    if len(numbers) != np.prod(sizes, dtype=object):
        raise ValueError(f"{len(numbers):,} numbers, expected {sizes}")
    if max(sizes, default=0) != len(numbers):
        return title, {}  # a matrix of several columns
    texts = [as_text(number) for number in numbers.tolist()]
    return title, texts[0] if len(texts) == 1 else texts


def _characters(of: int, content: bytes, order: str, sizes: list[int]) -> Value:
    """A text, or several: the rows of a matrix, which stands column by column."""
    if of in _TEXTS:
        ends = "" if of == min(_TEXTS) else "-le" if order == "<" else "-be"
        text = content.decode(_TEXTS[of] + ends)
    else:
        codes = np.frombuffer(content, order + _TYPES.get(of, "V0"))
        text = "".join(map(chr, codes.astype(np.uint16).tolist()))
    rows = sizes[0] if sizes else 1
    return [as_text(text[at::rows]) for at in range(rows)] if 1 < rows <= len(text) else as_text(text)


def _scalar(value: Value) -> str:
    """What stands in a cell, as text; a list of one is that one, and anything else is ""."""
    if isinstance(value, list):
        return value[0] if len(value) == 1 else ""
    return value if isinstance(value, str) else ""
