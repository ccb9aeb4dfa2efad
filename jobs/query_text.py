"""Where the text of a query comes from, and the file that an answer goes to."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TextIO

from jobs.durable import replace
from jobs.errors import UsageError, show
from jobs.query import ArrowWriter, Row, Write, write_csv, write_json


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
    try:
        return stdin.read() if file is None else file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{show(str(file))} cannot be read: {error.strerror}", "choose another --file"
        ) from None
    except UnicodeDecodeError:
        place = "standard input" if file is None else show(str(file))
        raise UsageError(f"{place}: the query is not UTF-8", "save it as UTF-8") from None


def write_to(path: Path) -> Write | ArrowWriter:
    """Write an answer into a file, whole or not at all; its suffix says how.

    Raises
    ------
    UsageError
        The suffix is not known.
    """
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
