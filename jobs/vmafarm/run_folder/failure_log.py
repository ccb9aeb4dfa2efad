"""Writes the failures of one writer: a file per slice, since whoever asks about a slice reads no other."""

from __future__ import annotations

from vmafarm.disk.durable import Appender, make_folder
from vmafarm.disk.jsonl import json_line
from vmafarm.run_folder.failures import FailureRecord
from vmafarm.run_folder.paths import RunFolder


class FailureLog:
    """The failures that one writer records.

    Parameters
    ----------
    folder
        The run.
    writer
        Its name.
    """

    def __init__(self, folder: RunFolder, writer: str) -> None:
        self._folder, self._writer = folder, writer
        self._files: dict[int, Appender] = {}

    def append(self, record: FailureRecord) -> None:
        """Put a record on disk; raises UnavailableError if that cannot be done."""
        number = record.slice
        if number not in self._files:
            make_folder(self._folder.failures)
            self._files[number] = Appender(self._folder.failure_file(number, self._writer))
        self._files[number].append(json_line(record.as_dict()))

    def close_slice(self, number: int) -> None:
        """Close the file of a slice of which no clip is left: most systems let a process open 1,024 files."""
        if number in self._files:
            self._files.pop(number).close()

    def close(self) -> None:
        """Close all of its files."""
        for number in list(self._files):
            self.close_slice(number)
