"""A bounded number of reads at any position in files that cannot be trusted."""

from __future__ import annotations

from typing import BinaryIO

_READS = 500_000
"""About a second. An hour of video with sound in an AVI file has as many chunks."""


class TooManyReadsError(Exception):
    """A file that needs more reads than any sound one."""


class Reader:
    """Reads a file at given positions, a bounded number of times.

    Parameters
    ----------
    file
        Open for reading.
    reads
        Maximum number of reads.
    """

    def __init__(self, file: BinaryIO, reads: int = _READS) -> None:
        self._file = file
        self._left = reads
        self.end = file.seek(0, 2)

    def read(self, position: int, count: int) -> bytes:
        """Bytes from a position on; fewer at the end of the file.

        Raises
        ------
        TooManyReadsError
            The limit is reached.
        OSError
            The file cannot be read.
        """
        self._left -= 1
        if self._left < 0:
            raise TooManyReadsError
        if position >= self.end:
            return b""
        self._file.seek(position)
        return self._file.read(count)

    def number(self, position: int, count: int = 4) -> int:
        """Unsigned big-endian number; 0 beyond the end."""
        return int.from_bytes(self.read(position, count), "big")
