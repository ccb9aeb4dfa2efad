"""Sealed Parquet files larger than memory: written and read one row group at a time.

They have the same seal as other sealed files (`vmafarm.disk.sealed_parquet`). It is verified before the first
row is read, so the bytes are read twice.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from vmafarm.common.errors import show
from vmafarm.disk.regular_files import open_regular
from vmafarm.disk.sealed_parquet import (
    BLANK,
    DIGITS,
    SEAL_KEY,
    DamagedError,
    extent_of,
    find_digest,
    look_at_ends,
    read_bounded,
    require_rows,
)

MOST_IN_GROUP = 1 << 20
"""Rows of a row group; pyarrow's own limit."""
_AT_ONCE = 1 << 20
_LARGEST_FOOTER = 1 << 28
_TAIL = 8
"""Bytes after the footer: its length, and PAR1."""


def write_stream(schema: pa.Schema, tables: Iterable[pa.Table], file: BinaryIO, **options: Any) -> str:
    """Write tables as one sealed Parquet file, each as a row group; one of them is in memory at a time.

    Parameters
    ----------
    schema
        Of all tables, with the metadata of the file.
    tables
        None with more than `MOST_IN_GROUP` rows; empty ones are left out.
    file
        Open for writing, empty.
    **options
        Of pyarrow's writer.

    Returns
    -------
    str
        The digest of the seal, in hexadecimal digits.
    """
    sink = _Sink(file)
    with pq.ParquetWriter(pa.PythonFile(sink, "w"), schema, **options) as writer:
        for table in tables:
            if table.num_rows:
                writer.write_table(table, row_group_size=table.num_rows)
        writer.add_key_value_metadata({SEAL_KEY: BLANK})
        sink.keep()
    return sink.seal()


class _Sink(io.RawIOBase):
    """Passes bytes on and hashes them; keeps the last ones, with the footer, until the seal is in them."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file, self._digest, self._at = file, hashlib.sha256(), 0
        self._kept: bytearray | None = None

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._at += size
        if self._kept is not None:
            self._kept += data
        else:
            self._digest.update(data)
            self._file.write(data)
        return size

    def keep(self) -> None:
        self._kept = bytearray()

    def seal(self) -> str:
        assert self._kept is not None
        self._digest.update(self._kept)
        at, digest = find_digest(self._kept), self._digest.hexdigest()
        self._kept[at : at + DIGITS] = digest.encode()
        self._file.write(self._kept)
        return digest


class StreamFile:
    """A file whose seal matches its bytes, and which is read one row group at a time.

    Parameters
    ----------
    file
        Open for reading; it is closed by whoever opened it.

    Attributes
    ----------
    schema
        Its columns and metadata.
    rows
        Number of rows.
    digest
        The digest of its seal, in hexadecimal digits.

    Raises
    ------
    DamagedError
        It is not Parquet, or not as its writer left it.
    """

    def __init__(self, file: FileIO) -> None:
        look_at_ends(file)
        self._size = os.fstat(file.fileno()).st_size
        self.digest = _verified(file, self._size)
        self._file = file
        with self._explained():
            self._plain = self._open(())
            self._metadata, self.schema = self._plain.metadata, self._plain.schema_arrow
            texts = [field.name for field in self.schema if field.type == pa.string()]
            self._encoded = self._open(texts)
        self.rows = self._metadata.num_rows

    def tables(self) -> Iterator[pa.Table]:
        """The row groups, in order.

        Raises
        ------
        DamagedError
            One cannot be read, has too many rows, or needs far more memory than its rows should.
        """
        for number in range(self._metadata.num_row_groups):
            rows, size = extent_of(self._metadata, [number])
            require_rows(rows, MOST_IN_GROUP)
            with self._explained():
                table = read_bounded(partial(self._read, number), self.schema, rows, size)
            yield table

    def _read(self, number: int, texts: Sequence[str]) -> pa.Table:
        return (self._encoded if texts else self._plain).read_row_group(number, use_threads=False)

    def _open(self, dictionaries: Iterable[str]) -> pq.ParquetFile:
        file = self._file
        file.seek(0)
        return pq.ParquetFile(file, pre_buffer=False, read_dictionary=list(dictionaries))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            if isinstance(error, OSError) and error.errno:  # of the system; pyarrow's own have none
                raise
            why = show(str(error).strip().partition("\n")[0])
            raise DamagedError(f"cut or damaged ({self._size:,} bytes): {why}") from None


def _verified(file: FileIO, size: int) -> str:
    """The digest that a file contains; raises DamagedError unless it matches its bytes."""
    length = int.from_bytes(os.pread(file.fileno(), 4, max(0, size - _TAIL)), "little")
    begin = size - _TAIL - length
    if begin < 4 or length > _LARGEST_FOOTER:
        raise DamagedError(f"cut or damaged ({size:,} bytes): its footer is longer than the file")
    footer = os.pread(file.fileno(), length, begin)
    place = find_digest(footer)
    if place < 0:
        raise DamagedError(
            f"no digest in its footer ({size:,} bytes): not written by vmafarm, or changed since"
        )
    stated, at = footer[place : place + DIGITS], begin + place
    digest = hashlib.sha256()
    for first in range(0, size, _AT_ONCE):
        part = bytearray(os.pread(file.fileno(), _AT_ONCE, first))
        low, high = max(at, first), min(at + DIGITS, first + len(part))
        if low < high:
            part[low - first : high - first] = BLANK[: high - low]
        digest.update(part)
    if stated != digest.hexdigest().encode():
        raise DamagedError(f"cut or damaged ({size:,} bytes): its bytes do not match its seal")
    return stated.decode("ascii")


@contextmanager
def open_stream(path: Path) -> Iterator[StreamFile]:
    """Open a sealed file of any size.

    Raises
    ------
    OSError
        It cannot be read.
    DamagedError
        See `StreamFile`.
    """
    with open_regular(path, None) as file:
        yield StreamFile(file)
