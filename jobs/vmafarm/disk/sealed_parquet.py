"""Parquet files that state the digest of their own bytes: a bit that flips anywhere is found.

Parquet's page checksums leave the footer out, and DuckDB does not verify them: of random bit flips
in a shard about half came out as other rows. So the footer of each file has 64 digits under
`SEAL_KEY`, the SHA-256 of the whole file with zeros in their place. Other readers see one more key
in the metadata.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vmafarm.common.errors import show
from vmafarm.disk.arrow import numbers
from vmafarm.disk.regular_files import MOST_BYTES, open_regular, read_regular

SEAL_KEY = b"vmafarm.sha256"
DIGITS = 64
BLANK = b"0" * DIGITS
_MARK = SEAL_KEY + b"\x18" + bytes([DIGITS])
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
    content = written(table.schema, [table], **options)
    at = find_digest(content)
    content[at : at + DIGITS] = _digest(content, at)
    file.write(content)


def written(schema: pa.Schema, tables: Iterable[pa.Table], **options: Any) -> bytearray:
    """Tables as Parquet, with zeros as their seal."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, **options) as writer:
        for table in tables:
            writer.write_table(table)
        writer.add_key_value_metadata({SEAL_KEY: BLANK})
    return bytearray(sink.getvalue())


def is_sealed(content: bytes) -> bool:
    """Whether these bytes state a digest at all.

    Raises
    ------
    DamagedError
        They state another one than their own.
    """
    at = find_digest(content)
    if at < 0:
        return False
    if content[at : at + DIGITS] != _digest(content, at):
        raise DamagedError(f"cut or damaged ({len(content):,} bytes): not the bytes that its writer sealed")
    return True


def stated_digest(path: Path) -> str:
    """The digest that a file states of itself, unchecked, read from its end; "" where it states none.

    Raises
    ------
    OSError
        It cannot be read.
    DamagedError
        It is not Parquet.
    """
    with open_regular(path) as file:
        look_at_ends(file)
        file.seek(max(0, file.seek(0, 2) - _LARGEST_FOOTER))
        end = file.read(_LARGEST_FOOTER)
    at = find_digest(end)
    return end[at : at + DIGITS].decode("ascii", "replace") if at >= 0 else ""


_LARGEST_FOOTER = 64 << 10
"""The footer of a shard takes some 10 KB."""


MOST_ROWS = 10_000_000
"""Of a file of which nothing else is known."""


class SealedFile:
    """A file whose bytes are those that its writer sealed.

    A seal has no secret: who may write the file may seal it, too. So rows are counted before any is read, and
    nothing is read that would take far more memory than so many rows ever do.

    Parameters
    ----------
    content
        Its bytes, of which the seal is right.
    most_rows
        Rows that it may have.

    Attributes
    ----------
    schema
        Its columns, and their metadata.
    rows
        How many it has.

    Raises
    ------
    DamagedError
        It is not Parquet, or has more rows or bytes than it may.
    """

    def __init__(self, content: bytes, most_rows: int = MOST_ROWS) -> None:
        self._content = content
        with explained(content):
            self._file = self._open()
            self._metadata, self.schema = self._file.metadata, self._file.schema_arrow
        groups = [self._metadata.row_group(number) for number in range(self._metadata.num_row_groups)]
        self.rows = max(self._metadata.num_rows, sum(group.num_rows for group in groups))
        require_rows(self.rows, most_rows)
        self._room = min(MOST_BYTES, _BYTES_OF_A_FILE + self.rows * _BYTES_OF_A_ROW)
        self._bytes = sum(group.total_byte_size for group in groups)
        self._require_room(self._bytes)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read columns, or all; text is UTF-8.

        Read without threads: one of Arrow's that is at work as Python ends aborts the process, with
        "terminate called without an active exception" (apache/arrow, issue 34314), after all was done.

        Raises
        ------
        DamagedError
            They cannot be read, or take far more memory than so many rows ever do.
        """
        with explained(self._content):
            if self.rows * self._bytes <= _BYTES_AT_ONCE:
                table = self._file.read(columns, use_threads=False)
            else:
                table = self._read_counted(self.schema.names if columns is None else columns)
            table.validate(full=True)
        return table

    def _read_counted(self, columns: Sequence[str]) -> pa.Table:
        """Read each text once, and count all of them before they are repeated.

        One long text a million times takes no room in a file, and may be too much for any memory.
        """
        texts = [name for name in columns if self.schema.field(name).type == pa.string()]
        table = self._open(texts).read(columns, use_threads=False)
        self._require_room(sum(_repeated_bytes(table[name]) for name in texts))
        fields = [self.schema.field(name) for name in table.schema.names]
        return table.cast(pa.schema(fields, table.schema.metadata))

    def _open(self, dictionaries: Sequence[str] = ()) -> pq.ParquetFile:
        # Without reading ahead, which copies what is in memory already.
        return pq.ParquetFile(
            pa.BufferReader(self._content), pre_buffer=False, read_dictionary=list(dictionaries)
        )

    def _require_room(self, size: int) -> None:
        if size > self._room:
            raise DamagedError(f"{size:,} bytes in {self.rows:,} rows, expected at most {self._room:,}")


_BYTES_OF_A_FILE, _BYTES_OF_A_ROW = 1 << 20, 1 << 14
"""A row has 0.4 KB, and its notes seldom have more."""
_BYTES_AT_ONCE = 1 << 26


def _repeated_bytes(column: pa.ChunkedArray) -> int:
    """Bytes of all texts of a column that holds each of them once."""
    total = 0
    for chunk in column.chunks:
        texts = chunk.dictionary
        ends = np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1, 4 * texts.offset)
        total += int(np.diff(ends)[numbers(pa.chunked_array([chunk.indices.drop_null()]))].sum())
    return total


def require_rows(rows: int, most: int) -> None:
    """Raise DamagedError where a file has more rows than it may."""
    if rows > most:
        raise DamagedError(f"{rows:,} rows, expected at most {most:,}: none of them is read")


def open_sealed(path: Path, most_rows: int = MOST_ROWS) -> SealedFile:
    """Open a file whose bytes are those that its writer sealed; nothing else is even parsed.

    Parameters
    ----------
    path
        The file.
    most_rows
        Rows that it may have; see `vmafarm.run_folder.manifest.most_rows`.

    Raises
    ------
    OSError
        It cannot be read.
    DamagedError
        It is cut, changed, was written by something else, or has more rows or bytes than it may.
    """
    content = read_regular(path, look=look_at_ends)
    if not is_sealed(content):
        raise DamagedError(describe_unsealed(content))
    return SealedFile(content, most_rows)


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


def look_at_ends(file: FileIO) -> None:
    """Raise DamagedError where an open file is not Parquet, by its ends alone: it may have gigabytes."""
    size = os.fstat(file.fileno()).st_size
    if not size:
        raise DamagedError("empty (0 bytes)")
    if os.pread(file.fileno(), 4, 0) + os.pread(file.fileno(), 4, max(0, size - 4)) != b"PAR1PAR1":
        raise DamagedError(f"cut or damaged ({size:,} bytes): a Parquet file begins and ends with PAR1")


def describe_unsealed(content: bytes) -> str:
    """Say what is wrong with bytes of a Parquet file that state no digest."""
    return f"no digest of its {len(content):,} bytes in its footer: not written by vmafarm, or changed since"


def read_columns(path: Path, schema: Mapping[str, pa.DataType], most_rows: int = MOST_ROWS) -> pa.Table:
    """Read columns of a sealed file.

    Parameters
    ----------
    path
        The file.
    schema
        Names of the columns, and the type that each must have.
    most_rows
        As for `open_sealed`.

    Raises
    ------
    OSError
        It cannot be read.
    DamagedError
        It is not as its writer left it, or a column is not there or of another type.
    """
    file = open_sealed(path, most_rows)
    for name, kind in schema.items():
        if file.schema.names.count(name) != 1 or file.schema.field(name).type != kind:
            raise DamagedError(f"no column {name} of type {kind}")
    return file.read(list(schema))


def find_digest(content: bytes | bytearray) -> int:
    """Where the digest of a file stands in its bytes; -1: it states none."""
    at = content.rfind(_MARK)
    return -1 if at < 0 or at + len(_MARK) + DIGITS > len(content) else at + len(_MARK)


def _digest(content: bytes | bytearray, at: int) -> bytes:
    view = memoryview(content)
    digest = hashlib.sha256(view[:at])
    digest.update(BLANK)
    digest.update(view[at + DIGITS :])
    return digest.hexdigest().encode()
