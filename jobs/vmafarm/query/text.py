"""Reads the text of a query, and writes its answer to a file."""

from __future__ import annotations

import io
import os
import shlex
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import BinaryIO, TextIO

from vmafarm.common.errors import UsageError, show
from vmafarm.common.layout import written
from vmafarm.common.text import counted
from vmafarm.disk.durable import replace
from vmafarm.query.answers import Answer, Write, write_csv, write_json, write_parquet
from vmafarm.run_folder.paths import RunFolder


def read_query(query: str | None, file: Path | None, stdin: TextIO) -> str:
    """Return the query from the command line, a file or standard input.

    Raises
    ------
    UsageError
        Both a query and a file are given, or the file cannot be read.
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
    if len(text) > _MOST_CHARACTERS:  # a device never ends
        raise UsageError(
            f"{place}: more than {_MOST_CHARACTERS:,} characters, expected a query",
            "put values into a Parquet or CSV file, and read that with --unsafe",
        )
    return text


_MOST_CHARACTERS = 1 << 24


def tell_clients(folder: RunFolder) -> str:
    """How to query a run without giving the query on the command line."""
    command = f"duckdb -readonly {shlex.quote(str(folder.database))}"
    return (
        'give one ("SELECT ..."), or a file of statements (--file)\n'
        "for a prompt, open the run's database, which merge and qa write, in any DuckDB client:\n"
        f"{command}\nuvx --from duckdb-cli {command}"
    )


def write_to(path: Path, say: Callable[[str], None]) -> Write:
    """Write an answer into a file, whole or not at all; its suffix names the format.

    Parameters
    ----------
    path
        Where to.
    say
        Told what was written.

    Raises
    ------
    UsageError
        The suffix is unknown, or no file can be written there.
    """
    require_place(path)
    formats = {".csv": write_csv, ".json": write_json}
    write = formats.get(path.suffix)
    if write is None and path.suffix != ".parquet":
        raise UsageError(f"{show(str(path))}: an unknown suffix", "choose .csv, .json or .parquet")

    def fill(answer: Answer, file: BinaryIO) -> None:
        assert write is not None
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        write(text, answer)
        text.flush()
        text.detach()  # the creator of the draft closes it

    def put(answer: Answer) -> None:
        if write is None:
            write_parquet(path, answer)
        else:
            replace(path, partial(fill, answer))
        say(*written(path, counted(answer.fetched, "row")))

    return put


def require_place(output: Path) -> None:
    """Raise UsageError if --output cannot be written: before the work, and without blaming the run folder."""
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
