"""The view ``frames``: the published frames of a run, which are read where they are and not copied."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager

import duckdb

from vmafarm.common.errors import UsageError, VmafarmError, show
from vmafarm.config.sections import Config
from vmafarm.published.frames_table import open_frames
from vmafarm.published.merge_record import read_merge_record
from vmafarm.sql import templates as sql

NAME = "frames"


@contextmanager
def readable_frames(config: Config, tables: Collection[str], say: Callable[[str], None]) -> Iterator[str]:
    """Have DuckDB read the published frames of a run.

    Parameters
    ----------
    config
        Of a planned run.
    tables
        As for `vmafarm.query.database.open_run`: frames that nobody reads are not opened.
    say
        Told why they cannot be read, where it is not known whether they are going to be.

    Yields
    ------
    str
        A path for DuckDB, to the file that was checked, even if another one replaces it; "": there is none.

    Raises
    ------
    UsageError
        They are to be read, and the run keeps none, or has not been merged yet.
    IncompleteError
        They are to be read, and belong to another table.
    """
    with ExitStack() as stack:
        path = ""
        if not tables or NAME in tables:
            try:
                file = stack.enter_context(open_frames(config.folder.frames_table, _table_of_frames(config)))
                path = f"/proc/self/fd/{file.fileno()}"
            except VmafarmError as error:
                if tables:
                    raise
                if config.engine.frames:
                    say(f"{NAME}: {error.message}")
        yield path


def _table_of_frames(config: Config) -> str:
    """Digest of the table whose frames are wanted."""
    name = show(config.run.name)
    record = read_merge_record(config.folder.merge_record)
    if config.engine.frames and not record.get("table_sha256"):
        raise UsageError(
            f'the frames of "{name}" are not merged yet', f"vmafarm merge --run {name} --allow-missing"
        )
    if not config.engine.frames and not config.folder.frames_table.exists():
        raise UsageError(
            f'the run "{name}" keeps no frames', "a run that does is planned with engine.frames = true"
        )
    digest: str = record.get("table_sha256", "")
    return digest


def add_view(connection: duckdb.DuckDBPyConnection, path: str) -> None:
    """Make the view of what `readable_frames` yields; none where that is ""."""
    if path:
        connection.execute(sql.render("query/frames", file=path))
