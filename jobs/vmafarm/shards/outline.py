"""Compare the footers of shards byte by byte, so that few of them need to be parsed."""

from __future__ import annotations

import pyarrow as pa

from vmafarm.disk.sealed_parquet import BLANK, DIGITS, find_digest, written


class Outline:
    """The bytes that `write_sealed` puts in every footer with the same columns and metadata.

    A footer contains the columns, the number of rows, the row groups and the metadata, in this order. So a
    file whose footer begins and ends with these bytes has these columns and metadata, and need not be parsed
    to check them; for a file of a hundred rows, parsing would take most of the time.

    Parameters
    ----------
    schema
        The columns, with metadata.
    """

    def __init__(self, schema: pa.Schema) -> None:
        # Files always have metadata, even if empty: Arrow encodes empty and missing metadata differently.
        footer = _footer(written(schema.with_metadata(schema.metadata or {}), []))
        self._head, found, self._tail = footer.partition(_NO_ROWS)
        self._usable = bool(found) and _NO_ROWS not in self._tail

    def rows(self, content: bytes) -> int | None:
        """Return the number of rows of a sealed file with these columns and metadata.

        None: it has other columns or metadata, or another version of pyarrow wrote it.
        """
        footer = _footer(content)
        begin = self._head + _ROWS
        if not (self._usable and footer.startswith(begin) and footer.endswith(self._tail)):
            return None
        return _zigzag(footer[len(begin) : len(begin) + 10])


_ROWS = b"\x16"
"""Header of the field with the number of rows (Thrift, compact protocol: next field, 64 bits)."""
_NO_ROWS = _ROWS + b"\x00\x19\x0c"
"""Zero rows, then an empty list of row groups."""


def _zigzag(data: bytes) -> int:
    """Decode the number at the beginning (Thrift, compact protocol)."""
    value = 0
    for place, byte in enumerate(data):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            break
    return value >> 1 ^ -(value & 1)


def _footer(content: bytes | bytearray) -> bytes:
    """Return the footer with its seal replaced by zeros; empty if there is no seal."""
    end = len(content) - 8
    start = end - int.from_bytes(content[end : end + 4], "little")
    at = find_digest(content)
    return bytes(content[start:at] + BLANK + content[at + DIGITS : end]) if 0 < start < at else b""
