"""Sealed Parquet files: each contains the digest of its own bytes, which detects any flipped bit.

Parquet's page checksums do not cover the footer, and DuckDB does not verify them: about half of all random
bit flips in a shard led to wrong rows. So the metadata in each footer has the key `SEAL_KEY`, whose value is
64 hexadecimal digits: the SHA-256 of the whole file with zeros in place of these digits. Other readers see
one more key in the metadata.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from vmafarm.common.errors import show
from vmafarm.disk.arrow import expanded_bytes
from vmafarm.disk.regular_files import MOST_BYTES, read_regular

SEAL_KEY = b"vmafarm.sha256"
DIGITS = 64
BLANK = b"0" * DIGITS
_MARK = SEAL_KEY + b"\x18" + bytes([DIGITS])
"""The key as encoded in the footer (Thrift, compact protocol), followed by a string of 64 bytes."""


class DamagedError(Exception):
    """A file is not as its writer left it; the message says what is wrong."""


def write_sealed(table: pa.Table, file: BinaryIO, **options: Any) -> None:
    """Write a table as Parquet with its seal, and without statistics on floats.

    Parameters
    ----------
    table
        What to write; it is held in memory twice.
    file
        Open for writing, empty.
    **options
        Options of pyarrow's writer; they override ours.
    """
    # Row-group minima and maxima of floats ignore NaN, so readers that trust them skip NaN rows.
    counted = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
    metadata = {key: text for key, text in (table.schema.metadata or {}).items() if key != SEAL_KEY}
    table = table.replace_schema_metadata(metadata)  # without the seal of the file it was read from
    options = {"compression": "zstd", "write_statistics": counted} | options
    content = written(table.schema, [table], **options)
    seal(content)
    file.write(content)


def written(
    schema: pa.Schema, tables: Iterable[pa.Table], more: Mapping[bytes, bytes] = MappingProxyType({}),
    **options: Any,
) -> bytearray:  # fmt: skip
    """Encode tables as one Parquet file with a seal of zeros, and more metadata before it."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, **options) as writer:
        for table in tables:
            writer.write_table(table)
        writer.add_key_value_metadata({**more, SEAL_KEY: BLANK})
    return bytearray(sink.getvalue())


def seal(content: bytearray) -> None:
    """Put the digest of a file's bytes in place of the zeros of `written`."""
    at = find_digest(content)
    content[at : at + DIGITS] = _digest(content, at)


def is_sealed(content: bytes) -> bool:
    """Check whether the bytes of a file contain a digest.

    Raises
    ------
    DamagedError
        The digest does not match the bytes.
    """
    at = find_digest(content)
    if at < 0:
        return False
    if content[at : at + DIGITS] != _digest(content, at):
        raise DamagedError(f"cut or damaged ({len(content):,} bytes): its bytes do not match its seal")
    return True


MOST_ROWS = 10_000_000
"""Limit for a file about which nothing else is known."""


class SealedFile:
    """A file whose seal matches its bytes.

    A seal involves no secret: anyone who can write the file can seal it. So rows are counted before any is
    read, and a file that would take far more memory than that number of rows needs is not read.

    Parameters
    ----------
    content
        Its bytes, with a matching seal.
    most_rows
        The most rows that are accepted.

    Attributes
    ----------
    schema
        Its columns and metadata.
    rows
        Number of rows.

    Raises
    ------
    DamagedError
        It is not Parquet, or has too many rows or bytes.
    """

    def __init__(self, content: bytes, most_rows: int = MOST_ROWS) -> None:
        self._content = content
        with explained(content):
            self._file = self._open()
            self._metadata, self.schema = self._file.metadata, self._file.schema_arrow
        self.rows, self._bytes = extent_of(self._metadata, range(self._metadata.num_row_groups))
        self.rows = max(self._metadata.num_rows, self.rows)
        require_rows(self.rows, most_rows)
        _require_room(self._bytes, self.rows)

    @property
    def digest(self) -> str:
        """The digest in its footer, which is that of its bytes."""
        return sealed_digest(self._content)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read some columns, or all; text is validated as UTF-8.

        No threads are used: an Arrow thread that is still running when Python exits aborts the process after
        its work is done, with "terminate called without an active exception" (apache/arrow, issue 34314).

        Raises
        ------
        DamagedError
            They cannot be read, or need far more memory than this number of rows should.
        """
        with explained(self._content):
            return read_bounded(
                lambda texts: (self._open(texts) if texts else self._file).read(columns, use_threads=False),
                self.schema, self.rows, self._bytes,
            )  # fmt: skip

    def _open(self, dictionaries: Sequence[str] = ()) -> pq.ParquetFile:
        # No pre-buffering: it would copy what is already in memory.
        return pq.ParquetFile(
            pa.BufferReader(self._content), pre_buffer=False, read_dictionary=list(dictionaries)
        )


def extent_of(metadata: pq.FileMetaData, chosen: Iterable[int]) -> tuple[int, int]:
    """Rows, and bytes before compression, of some row groups as each states them."""
    groups = [metadata.row_group(number) for number in chosen]
    return sum(group.num_rows for group in groups), sum(group.total_byte_size for group in groups)


def read_bounded(
    read: Callable[[Sequence[str]], pa.Table], schema: pa.Schema, rows: int, size: int
) -> pa.Table:
    """Read a table with `read`, which is given the columns of text to read as dictionaries.

    A long text that occurs a million times takes little space in a file, but may exceed all memory. So its
    size is checked before it is expanded; raises DamagedError if it is far more than these rows should need.
    """
    _require_room(size, rows)
    if rows * size <= _BYTES_AT_ONCE:
        table = read(())
    else:
        table = read([field.name for field in schema if field.type == pa.string()])
        texts = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
        _require_room(sum(expanded_bytes(table[name]) for name in texts), rows)
        fields = [schema.field(name) for name in table.schema.names]
        table = table.cast(pa.schema(fields, table.schema.metadata))
    table.validate(full=True)
    return table


def _require_room(size: int, rows: int) -> None:
    room = min(MOST_BYTES, _BYTES_OF_A_FILE + rows * _BYTES_OF_A_ROW)
    if size > room:
        raise DamagedError(f"{size:,} bytes in {rows:,} rows, expected at most {room:,}")


_BYTES_OF_A_FILE, _BYTES_OF_A_ROW = 1 << 20, 1 << 14
"""A row has 0.4 KB; its notes are rarely longer."""
_BYTES_AT_ONCE = 1 << 26


def require_rows(rows: int, most: int) -> None:
    """Raise DamagedError if a file has too many rows."""
    if rows > most:
        raise DamagedError(f"{rows:,} rows, expected at most {most:,}: none are read")


def open_sealed(path: Path, most_rows: int = MOST_ROWS) -> SealedFile:
    """Open a file if its seal matches its bytes; otherwise it is not even parsed.

    Parameters
    ----------
    path
        The file.
    most_rows
        The most rows that are accepted; see `vmafarm.run_folder.manifest.most_rows`.

    Raises
    ------
    OSError
        It cannot be read.
    DamagedError
        It was truncated, changed or written by another program, or has too many rows or bytes.
    """
    content = read_regular(path, look=look_at_ends)
    if not is_sealed(content):
        raise DamagedError(describe_unsealed(content))
    return SealedFile(content, most_rows)


@contextmanager
def explained(content: bytes) -> Iterator[None]:
    """Turn any error of pyarrow about these bytes into a DamagedError."""
    if not content:
        raise DamagedError("empty (0 bytes)")
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        why = show(str(error).strip().partition("\n")[0])
        raise DamagedError(f"cut or damaged ({len(content):,} bytes): {why}") from None


def look_at_ends(file: FileIO) -> None:
    """Raise DamagedError if an open file is not Parquet; reads only both ends, as it may have gigabytes."""
    size = os.fstat(file.fileno()).st_size
    if not size:
        raise DamagedError("empty (0 bytes)")
    if os.pread(file.fileno(), 4, 0) + os.pread(file.fileno(), 4, max(0, size - 4)) != b"PAR1PAR1":
        raise DamagedError(f"cut or damaged ({size:,} bytes): a Parquet file begins and ends with PAR1")


def describe_unsealed(content: bytes) -> str:
    """Describe a Parquet file that contains no digest."""
    return f"no digest in its footer ({len(content):,} bytes): not written by vmafarm, or changed since"


def read_columns(path: Path, schema: Mapping[str, pa.DataType], most_rows: int = MOST_ROWS) -> pa.Table:
    """Read columns of a sealed file.

    Parameters
    ----------
    path
        The file.
    schema
        Names of the columns and their expected types.
    most_rows
        As for `open_sealed`.

    Raises
    ------
    OSError
        It cannot be read.
    DamagedError
        It is damaged, or a column is missing or has another type.
    """
    file = open_sealed(path, most_rows)
    for name, kind in schema.items():
        if file.schema.names.count(name) != 1 or file.schema.field(name).type != kind:
            raise DamagedError(f"no column {name} of type {kind}")
    return file.read(list(schema))


def find_digest(content: bytes | bytearray) -> int:
    """Find the offset of the digest in the bytes of a file; -1 if there is none."""
    at = content.rfind(_MARK)
    return -1 if at < 0 or at + len(_MARK) + DIGITS > len(content) else at + len(_MARK)


def sealed_digest(content: bytes | bytearray) -> str:
    """The digest that the bytes of a sealed file contain, in hexadecimal digits; it is not verified."""
    at = find_digest(content)
    return content[at : at + DIGITS].decode("ascii", "replace")


def _digest(content: bytes | bytearray, at: int) -> bytes:
    view = memoryview(content)
    digest = hashlib.sha256(view[:at])
    digest.update(BLANK)
    digest.update(view[at + DIGITS :])
    return digest.hexdigest().encode()
