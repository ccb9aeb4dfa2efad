"""Parquet files that state the digest of their own bytes: a bit that flips anywhere is found.

Parquet's page checksums leave the footer out, and DuckDB does not verify them: of random bit flips
in a shard about half came out as other rows. So the footer of each file has 64 digits under
`SEAL_KEY`, the SHA-256 of the whole file with zeros in their place. Other readers see one more key
in the metadata.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.errors import show

SEAL_KEY = b"vmafarm.sha256"
_DIGITS = 64
_BLANK = b"0" * _DIGITS
_MARK = SEAL_KEY + b"\x18" + bytes([_DIGITS])
"""As the footer (Thrift, compact protocol) has it: the key, then a string of 64 bytes."""


class DamagedError(Exception):
    """A file is not as its writer left it; the message says how that shows."""


def write_sealed(table: pa.Table, file: BinaryIO, **options: Any) -> None:
    """Write a table as Parquet with its seal, and without statistics on floats.

    Parameters
    ----------
    table
        What to write; it is held in memory twice.
    file
        Open for writing, empty.
    **options
        Of pyarrow's writer, before ours.
    """
    # Row-group minima and maxima of floats leave NaN out, and readers that trust them lose it.
    counted = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
    metadata = {key: text for key, text in (table.schema.metadata or {}).items() if key != SEAL_KEY}
    table = table.replace_schema_metadata(metadata)  # without the seal of the file it was read from
    options = {"compression": "zstd", "write_statistics": counted} | options
    content = _written(table.schema, [table], **options)
    at = _find(content)
    content[at : at + _DIGITS] = _digest(content, at)
    file.write(content)


def _written(schema: pa.Schema, tables: Iterable[pa.Table], **options: Any) -> bytearray:
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, **options) as writer:
        for table in tables:
            writer.write_table(table)
        writer.add_key_value_metadata({SEAL_KEY: _BLANK})
    return bytearray(sink.getvalue())


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
        footer = _footer(_written(schema, []))
        self._head, found, self._tail = footer.partition(_NO_ROWS)
        self._usable = bool(found) and _NO_ROWS not in self._tail

    def fits(self, content: bytes) -> bool:
        """Whether a sealed file has these columns and metadata; False: it has others, or was written by
        another version of pyarrow.
        """
        footer = _footer(content)
        return self._usable and footer.startswith(self._head + _ROWS) and footer.endswith(self._tail)


_ROWS = b"\x16"
"""How the number of rows begins (Thrift, compact protocol: the next field, 64 bits)."""
_NO_ROWS = _ROWS + b"\x00\x19\x0c"
"""No rows, then an empty list of row groups."""


def _footer(content: bytes | bytearray) -> bytes:
    """The footer with zeros as its seal; empty where there is none."""
    end = len(content) - 8
    start = end - int.from_bytes(content[end : end + 4], "little")
    at = _find(content)
    return bytes(content[start:at] + _BLANK + content[at + _DIGITS : end]) if 0 < start < at else b""


def is_sealed(content: bytes) -> bool:
    """Whether these bytes state a digest at all.

    Raises
    ------
    DamagedError
        They state another one than their own.
    """
    at = _find(content)
    if at < 0:
        return False
    if content[at : at + _DIGITS] != _digest(content, at):
        raise DamagedError(f"cut or damaged ({len(content):,} bytes): not the bytes that its writer sealed")
    return True


def stated_digest(path: Path) -> str:
    """The digest that a file states of itself, unchecked, read from its end; "" where it states none.

    Raises
    ------
    OSError
        It cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        file.seek(max(0, file.seek(0, 2) - _LARGEST_FOOTER))
        end = file.read(_LARGEST_FOOTER)
    at = _find(end)
    return end[at : at + _DIGITS].decode("ascii", "replace") if at >= 0 else ""


_LARGEST_FOOTER = 64 << 10
"""The footer of a shard takes some 10 KB."""


@contextmanager
def open_sealed(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a file whose bytes are those that its writer sealed; nothing else is even parsed.

    Read it with ``use_threads=False``. A thread of Arrow's that is at work as Python ends aborts the process,
    with "terminate called without an active exception" (apache/arrow, issue 34314), after all was done.

    Raises
    ------
    OSError
        It cannot be read.
    DamagedError
        It is cut, changed, or was written by something else.
    """
    content = path.read_bytes()
    if not is_sealed(content):
        raise DamagedError(describe_unsealed(content))
    # Without reading ahead, which copies what is in memory already.
    with explained(content), pq.ParquetFile(pa.BufferReader(content), pre_buffer=False) as file:
        yield file


@contextmanager
def explained(content: bytes) -> Iterator[None]:
    """Turn whatever pyarrow raises on these bytes into a DamagedError."""
    if not content:
        raise DamagedError("empty (0 bytes)")
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        why = show(str(error).strip().partition("\n")[0])
        raise DamagedError(f"cut or damaged ({len(content):,} bytes): {why}") from None


def describe_unsealed(content: bytes) -> str:
    """Say what is wrong with bytes that state no digest."""
    if not content:
        return "empty (0 bytes)"
    if content[:4] != b"PAR1" or content[-4:] != b"PAR1":
        return f"cut or damaged ({len(content):,} bytes): a Parquet file begins and ends with PAR1"
    return f"no digest of its {len(content):,} bytes in its footer: not written by vmafarm, or changed since"


def read_columns(path: Path, schema: Mapping[str, pa.DataType]) -> pa.Table:
    """Read columns of a sealed file.

    Parameters
    ----------
    path
        The file.
    schema
        Names of the columns, and the type that each must have.

    Raises
    ------
    OSError
        It cannot be read.
    DamagedError
        It is not as its writer left it, or a column is not there or of another type.
    """
    with open_sealed(path) as file:
        table = file.read(columns=list(schema), use_threads=False)
    for name, kind in schema.items():
        if table.schema.names.count(name) != 1 or table.schema.field(name).type != kind:
            raise DamagedError(f"no column {name} of type {kind}")
    return table


def _find(content: bytes | bytearray) -> int:
    at = content.rfind(_MARK)
    return -1 if at < 0 or at + len(_MARK) + _DIGITS > len(content) else at + len(_MARK)


def _digest(content: bytes | bytearray, at: int) -> bytes:
    view = memoryview(content)
    digest = hashlib.sha256(view[:at])
    digest.update(_BLANK)
    digest.update(view[at + _DIGITS :])
    return digest.hexdigest().encode()
