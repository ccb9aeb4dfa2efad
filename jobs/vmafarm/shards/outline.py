"""What all shards of a run have in common, so that few of them need to be parsed."""

from __future__ import annotations

import pyarrow as pa

from vmafarm.disk.sealed_parquet import BLANK, DIGITS, find_digest, written


class Outline:
    """What all files of `write_sealed` with the same columns and metadata have in common.

    A footer is the columns, the number of rows, the row groups, then the metadata; it is read from
    its front. So a file whose footer begins and ends with the same bytes has the same columns and
    metadata, and need not be parsed to see that: of a file of a hundred rows that is most of the time.

    Parameters
    ----------
    schema
        With its metadata.
    """

    def __init__(self, schema: pa.Schema) -> None:
        # A file has metadata, if only none: Arrow writes an empty one as other bytes than no metadata at all.
        footer = _footer(written(schema.with_metadata(schema.metadata or {}), []))
        self._head, found, self._tail = footer.partition(_NO_ROWS)
        self._usable = bool(found) and _NO_ROWS not in self._tail

    def rows(self, content: bytes) -> int | None:
        """Rows of a sealed file with these columns and metadata; None: it has others, or was written by
        another version of pyarrow.
        """
        footer = _footer(content)
        begin = self._head + _ROWS
        if not (self._usable and footer.startswith(begin) and footer.endswith(self._tail)):
            return None
        return _zigzag(footer[len(begin) : len(begin) + 10])


_ROWS = b"\x16"
"""How the number of rows begins (Thrift, compact protocol: the next field, 64 bits)."""
_NO_ROWS = _ROWS + b"\x00\x19\x0c"
"""No rows, then an empty list of row groups."""


def _zigzag(data: bytes) -> int:
    """The number at the beginning (Thrift, compact protocol)."""
    value = 0
    for place, byte in enumerate(data):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            break
    return value >> 1 ^ -(value & 1)


def _footer(content: bytes | bytearray) -> bytes:
    """The footer with zeros as its seal; empty where there is none."""
    end = len(content) - 8
    start = end - int.from_bytes(content[end : end + 4], "little")
    at = find_digest(content)
    return bytes(content[start:at] + BLANK + content[at + DIGITS : end]) if 0 < start < at else b""
