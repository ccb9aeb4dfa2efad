"""Where the text of a query comes from, and the file that an answer goes to."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, TextIO

from vmafarm.common.errors import UsageError, show
from vmafarm.disk.durable import replace
from vmafarm.query.answers import ArrowWriter, Row, Write, write_csv, write_json


def read_query(query: str | None, file: Path | None, stdin: TextIO) -> str:
    """Take the query from the command line, from a file, or from standard input.

    Raises
    ------
    UsageError
        There are two, or the file cannot be read.
    """
    if query is not None and file is not None:
        raise UsageError("a query and --file", "give one of them")
    if query is not None:
        return query
    place = "standard input" if file is None else show(str(file))
    try:
        with nullcontext(stdin) if file is None else file.open(encoding="utf-8") as source:
            text = source.read(_MOST_CHARACTERS + 1)
    except OSError as error:
        raise UsageError(f"{place} cannot be read: {error.strerror}", "choose another --file") from None
    except UnicodeDecodeError:
        raise UsageError(f"{place}: the query is not UTF-8", "save it as UTF-8") from None
    if len(text) > _MOST_CHARACTERS:  # a device has no end
        raise UsageError(
            f"{place}: more than {_MOST_CHARACTERS:,} characters, expected a query",
            "put values into a Parquet or CSV file, and read that with --unsafe",
        )
    return text


_MOST_CHARACTERS = 1 << 24


def write_to(path: Path) -> Write | ArrowWriter:
    """Write an answer into a file, whole or not at all; its suffix says how.

    Raises
    ------
    UsageError
        The suffix is not known, or no file can be written there.
    """
    require_place(path)
    if path.suffix == ".parquet":
        return ArrowWriter(path)
    formats = {".csv": write_csv, ".json": write_json}
    write = formats.get(path.suffix)
    if write is None:
        raise UsageError(f"{show(str(path))}: an unknown suffix", "choose .csv, .json or .parquet")

    def answer(names: Sequence[str], batches: Iterator[list[Row]]) -> None:
        def fill(file: BinaryIO) -> None:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            write(text, names, batches)
            text.flush()
            text.detach()  # the draft is closed by who made it

        replace(path, fill)

    return answer


def require_place(output: Path) -> None:
    """Raise UsageError where an --output cannot be: told before the work, and not as of the run folder."""
    folder = output.absolute().parent
    if output.is_dir():
        raise UsageError(f"--output {show(str(output))}: this is a folder", "give the name of a file")
    if not folder.is_dir():
        raise UsageError(
            f"--output {show(str(output))}: its folder is not there", "make it, or choose another"
        )
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise UsageError(
            f"--output {show(str(output))}: its folder cannot be written",
            "make it writable, or choose another",
        )
