"""Reads the published table: the bytes that its merge published, or a message."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from io import FileIO
from typing import Any

import duckdb

from vmafarm.common.errors import IncompleteError, UsageError, reason, show
from vmafarm.disk.regular_files import open_regular
from vmafarm.published.in_place import InPlace
from vmafarm.published.merge_record import read_merge_record
from vmafarm.published.up_to_date import digest_open
from vmafarm.run_folder.paths import RunFolder
from vmafarm.sql.errors import is_outside


def is_changed(file: FileIO, record: Mapping[str, Any]) -> bool:
    """Whether the bytes of an open table differ from those that a record says were published.

    Parquet does not detect this: about half of all flipped bits in a table are read as other values.

    Parameters
    ----------
    file
        The table.
    record
        As `vmafarm.published.merge_record.read_merge_record` gives it; it may describe no table.
    """
    stated = record.get("table_sha256")
    return bool(stated) and digest_open(file) != stated


@contextmanager
def reading_table(
    folder: RunFolder, say: Callable[[str], None], place: InPlace | None = None
) -> Iterator[str]:
    """Have DuckDB read the published table of a run.

    Parameters
    ----------
    folder
        The run.
    say
        Called if the table could not be compared with its record.
    place
        The table that this process started with, if that matters.

    Yields
    ------
    str
        A path for DuckDB, to the file that was checked, even if another one replaces it in the meantime.

    Raises
    ------
    IncompleteError
        The table cannot be read, or is not the one that was published.
    SupersededError
        It is not the one in `place` either.
    """
    record: Mapping[str, Any] = {}
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_regular(folder.table, None))
            with _noted(say):
                record = read_merge_record(folder.merge_record)
            changed = is_changed(file, record)
        except OSError as error:
            raise _refusal(folder, f"cannot be read: {reason(error)}", record, place) from None
        if changed:
            raise _refusal(
                folder,
                f"was changed since it was published, or its merge was stopped: {CHANGED}",
                record,
                place,
            )
        path = f"/proc/self/fd/{file.fileno()}"
        try:
            yield path
        except duckdb.Error as error:
            if is_outside(error):
                raise
            why = show(str(error).partition("\n")[0].replace(path, folder.table.name))
            raise _refusal(folder, f"cannot be read: {why}", record, place) from None


@contextmanager
def _noted(say: Callable[[str], None]) -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        say(f"features: cannot tell whether the table was changed: {error.message}")


CHANGED = "merge.json beside it describes another table"


def _refusal(
    folder: RunFolder, what: str, record: Mapping[str, Any], place: InPlace | None
) -> IncompleteError:
    if place is not None:
        place.require()
    allow = " --allow-missing" if record.get("options", {}).get("allow_missing") else ""
    return IncompleteError(
        f"{show(str(folder.table))} {what}",
        "if a merge is at work, ask again when it has ended; else move it away, then restore it from a copy "
        f"or rebuild it from the shards: vmafarm merge --run {show(folder.name)}{allow}",
    )
