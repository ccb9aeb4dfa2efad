"""The view ``frames``: the published frames of a run, which are read where they are and not copied."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO

import duckdb

from vmafarm.common.errors import IncompleteError, UsageError, VmafarmError, show
from vmafarm.config.sections import Config
from vmafarm.published.frames_table import open_frames, require_whole
from vmafarm.published.merge_record import read_merge_record
from vmafarm.sql import templates as sql

NAME = "frames"


class Frames:
    """The published frames of a run, as far as a query may read them.

    Parameters
    ----------
    config
        Of a planned run.
    tables
        As for `vmafarm.query.database.open_run`: frames that nobody reads are not opened.
    say
        Told why they cannot be read, where it is not known whether they are going to be.
    stack
        Closes the file.

    Attributes
    ----------
    path
        A path for DuckDB, to the file that was checked, even if another one replaces it; "": there is none.

    Raises
    ------
    UsageError
        They are to be read, and the run keeps none, or has not been merged yet.
    IncompleteError
        They are to be read, and are gone, damaged, or belong to another table.
    """

    def __init__(
        self, config: Config, tables: Collection[str], say: Callable[[str], None], stack: ExitStack
    ) -> None:
        self._config, self._tables, self._say = config, tables, say
        self.path, self._lost, self._are_sound = "", "", True
        self._file: FileIO | None = None
        if not tables or NAME in tables:
            with self._told():
                wanted = _table_of_frames(config)
                self._file = stack.enter_context(open_frames(config.folder.frames_table, wanted))
                self.path = f"/proc/self/fd/{self._file.fileno()}"

    def are_whole(self) -> bool:
        """Verify all bytes, since DuckDB does not; raises as the whole does. False: they cannot be read."""
        if self._file is not None:
            with self._told():
                require_whole(self._config.folder.frames_table, self._file)
        return self._are_sound

    def add_views(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make the view of the frames; where they are lost, one that lets the checks of them fail."""
        if self.path:
            connection.execute(sql.render("query/frames", file=self.path))
        if self._lost:
            connection.execute(sql.render("query/lost_frames", why=self._lost))

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except VmafarmError as error:
            if self._tables:
                raise
            self.path = ""
            if self._config.engine.frames:
                self._say(f"{NAME}: {error.message}")
            self._are_sound = isinstance(error, UsageError)  # there are none
            if isinstance(error, IncompleteError) and _are_published(self._config):
                self._lost = f"{error.message}: {error.hint}"


@contextmanager
def readable_frames(config: Config, tables: Collection[str], say: Callable[[str], None]) -> Iterator[Frames]:
    """Have DuckDB read the published frames of a run; see `Frames`."""
    with ExitStack() as stack:
        yield Frames(config, tables, say, stack)


def _are_published(config: Config) -> bool:
    record = read_merge_record(config.folder.merge_record)
    return bool(record.get("published") and record["frames"])


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
