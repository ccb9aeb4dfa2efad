"""Reading here and there in files that nobody has checked: no more than so often, whatever they hold."""

from __future__ import annotations

from typing import BinaryIO

_READS = 500_000
"""About a second. An hour of video with sound in an AVI file has as many chunks."""


class TooManyReadsError(Exception):
    """A file that wants to be read in more places than any sound one."""


class Reader:
    """Reads a file in places, a bounded number of times.

    Parameters
    ----------
    file
        Open for reading.
    reads
        So many times at the most.
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
            It was asked too often.
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
        """Big-endian number without a sign; 0 beyond the end."""
        return int.from_bytes(self.read(position, count), "big")
