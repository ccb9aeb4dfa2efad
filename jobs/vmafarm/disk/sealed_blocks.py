"""Sealed Parquet files of which a part can be read and verified alone.

The seal of a file covers all of its bytes: whoever wants a few rows has to read all. Such a file also has
the key `BLOCKS_KEY` in its metadata: the SHA-256 of the footer, then that of the bytes of each row group, 64
hexadecimal digits each. In the footer that is hashed, its own digest and the seal are zeros. So the footer
vouches for the row groups, and the seal for all.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from vmafarm.disk.regular_files import MOST_BYTES, open_regular
from vmafarm.disk.sealed_parquet import (
    BLANK,
    DIGITS,
    DamagedError,
    explained,
    extent_of,
    find_digest,
    look_at_ends,
    read_bounded,
    require_rows,
    seal,
    written,
)

BLOCKS_KEY = b"vmafarm.blocks"
MOST_IN_BLOCK = 1 << 20
"""Rows; pyarrow's own limit of a row group."""
_TAIL = 8
"""Bytes after the footer: its length, and PAR1."""


def write_in_blocks(tables: Sequence[pa.Table], file: BinaryIO) -> None:
    """Write tables of one schema as the row groups of one sealed file.

    Parameters
    ----------
    tables
        At least one, none empty; each is a row group, or several if it has more than `MOST_IN_BLOCK` rows.
        They are held in memory twice.
    file
        Open for writing, empty.
    """
    schema = tables[0].schema
    parts = [
        table.slice(at, MOST_IN_BLOCK) for table in tables for at in range(0, table.num_rows, MOST_IN_BLOCK)
    ]
    counted = [field.name for field in schema if not pa.types.is_floating(field.type)]
    text = BLANK * (1 + len(parts))
    content = written(schema, parts, {BLOCKS_KEY: text}, compression="zstd", write_statistics=counted)
    metadata = pq.read_metadata(pa.BufferReader(content))
    at = _find_blocks(content, len(text))
    for number in range(len(parts)):
        begin, end = _extent(metadata.row_group(number))
        place = at + (1 + number) * DIGITS
        content[place : place + DIGITS] = _digest(memoryview(content)[begin:end])
    begin = _footer_begin(content, len(content))
    content[at : at + DIGITS] = _digest(_blanked(content[begin:], at - begin))
    seal(content)
    file.write(content)


class NoBlocksError(DamagedError):
    """A file that is not one of `write_in_blocks`."""


class BlockFile:
    """A file of `write_in_blocks` whose footer is verified, and its row groups as they are read.

    Parameters
    ----------
    file
        Open for reading; it is closed by whoever opened it.
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
        It was truncated or changed, or has too many rows; NoBlocksError: it is no such file.
    """

    def __init__(self, file: FileIO, most_rows: int) -> None:
        look_at_ends(file)
        self._file, self._size = file, os.fstat(file.fileno()).st_size
        tail = self._bytes(self._size - min(self._size, _TAIL), self._size)
        begin = _footer_begin(tail, self._size)
        footer = self._bytes(begin, self._size)
        self._known = {begin: footer}
        with explained(footer):
            self._metadata = pq.read_metadata(self._source())
            self.schema = self._metadata.schema.to_arrow_schema()
        groups = self._metadata.num_row_groups
        text = (self._metadata.metadata or {}).get(BLOCKS_KEY)
        if text is None:
            raise NoBlocksError(f"it does not state the digests of its row groups ({self._size:,} bytes)")
        if len(text) != DIGITS * (1 + groups):
            raise DamagedError(f"cut or damaged ({self._size:,} bytes): it states {len(text):,} digits")
        self._digests = [text[at : at + DIGITS] for at in range(0, len(text), DIGITS)]
        if self._digests[0] != _digest(_blanked(footer, _find_blocks(footer, len(text)))):
            raise DamagedError(f"cut or damaged ({self._size:,} bytes): its footer does not match its digest")
        self.rows = max(self._metadata.num_rows, extent_of(self._metadata, range(groups))[0])
        require_rows(self.rows, most_rows)

    def read(self, column: str, wanted: Callable[[int, int], bool]) -> pa.Table:
        """Read the row groups that may have wanted values.

        Parameters
        ----------
        column
            One of integers.
        wanted
            Whether a row group with these lowest and highest values may have some.

        Returns
        -------
        pa.Table
            Whole row groups, so other rows, too.

        Raises
        ------
        DamagedError
            A row group was changed, cannot be read, or needs far more memory than its rows should.
        """
        place = self.schema.get_field_index(column)
        chosen = []
        for number in range(self._metadata.num_row_groups):
            group = self._metadata.row_group(number)
            found = group.column(place).statistics
            if found is not None and found.has_min_max and not wanted(found.min, found.max):
                continue
            chosen.append(number)
            begin, end = _extent(group)
            content = self._bytes(begin, end)
            if _digest(content) != self._digests[1 + number]:
                raise DamagedError(f"row group {number} ({end - begin:,} bytes) does not match its digest")
            self._known[begin] = content
        with explained(self._known[max(self._known)]):
            return read_bounded(
                lambda dictionaries: self._open(dictionaries).read_row_groups(chosen, use_threads=False),
                self.schema, *extent_of(self._metadata, chosen),
            )  # fmt: skip

    def _open(self, dictionaries: Sequence[str]) -> pq.ParquetFile:
        return pq.ParquetFile(
            self._source(), metadata=self._metadata, pre_buffer=False, read_dictionary=list(dictionaries)
        )

    def _bytes(self, begin: int, end: int) -> bytes:
        if not 0 <= begin <= end <= min(self._size, MOST_BYTES):
            raise DamagedError(f"cut or damaged ({self._size:,} bytes): its parts lie outside of it")
        return os.pread(self._file.fileno(), end - begin, begin)

    def _source(self) -> pa.PythonFile:
        return pa.PythonFile(_Parts(self._known, self._size), "r")


class _Parts(io.RawIOBase):
    """The parts of a file that were verified; zeros elsewhere, which pyarrow reads but does not use."""

    def __init__(self, parts: dict[int, bytes], size: int) -> None:
        self._parts, self._size, self._at = parts, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._size, self._at + size)
        content = bytearray(max(0, end - self._at))
        for begin, part in self._parts.items():
            first, last = max(begin, self._at), min(begin + len(part), end)
            if first < last:
                content[first - self._at : last - self._at] = part[first - begin : last - begin]
        self._at = max(self._at, end)
        return bytes(content)


@contextmanager
def open_blocks(path: Path, most_rows: int) -> Iterator[BlockFile]:
    """Open a file of `write_in_blocks`.

    Raises
    ------
    OSError
        It cannot be read.
    DamagedError
        See `BlockFile`.
    """
    with open_regular(path, None) as file:
        yield BlockFile(file, most_rows)


def _extent(group: pq.RowGroupMetaData) -> tuple[int, int]:
    """Where the bytes of a row group begin and end: its columns follow one another."""
    columns = [group.column(number) for number in range(group.num_columns)]
    offsets = [(one.dictionary_page_offset, one.data_page_offset) for one in columns]
    begins = [min(at for at in pair if at is not None) for pair in offsets]
    return min(begins), max(
        begin + one.total_compressed_size for begin, one in zip(begins, columns, strict=True)
    )


def _footer_begin(content: bytes | bytearray, size: int) -> int:
    """Where the footer of a file begins that ends like this."""
    begin = size - _TAIL - int.from_bytes(content[-_TAIL : -_TAIL + 4], "little")
    if begin < 4:
        raise DamagedError(f"cut or damaged ({size:,} bytes): its footer is longer than the file")
    return begin


def _find_blocks(content: bytes | bytearray, length: int) -> int:
    """Where the digests begin: after the key, and the length of the text (Thrift, compact protocol)."""
    coded = bytearray()
    while length >= 0x80:
        coded.append(length & 0x7F | 0x80)
        length >>= 7
    mark = BLOCKS_KEY + b"\x18" + bytes([*coded, length])
    at = content.rfind(mark)
    if at < 0:
        raise DamagedError("cut or damaged: the digests of its row groups are not where they should be")
    return at + len(mark)


def _blanked(footer: bytes | bytearray, blocks: int) -> bytes:
    """The footer with zeros in place of its own digest and of the seal."""
    blank = bytearray(footer)
    blank[blocks : blocks + DIGITS] = BLANK
    if (at := find_digest(blank)) >= 0:
        blank[at : at + DIGITS] = BLANK
    return bytes(blank)


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def stated_digest(path: Path) -> str:
    """Read the digest from the end of a file without verifying it; empty if the file has none.

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
"""Bytes; the footer of a shard has about 10 KB."""
