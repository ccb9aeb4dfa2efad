"""The table of frames beside a run's table: which table it belongs to, and how it is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vmafarm.common.errors import IncompleteError, UsageError, reason, show
from vmafarm.common.steps import step, working
from vmafarm.disk import durable
from vmafarm.disk.jsonl import parse_json
from vmafarm.disk.readable import denied
from vmafarm.disk.regular_files import open_regular
from vmafarm.disk.sealed_parquet import DamagedError, look_at_ends
from vmafarm.disk.sealed_stream import StreamFile, open_stream
from vmafarm.run_folder.paths import RunFolder, run_of_table
from vmafarm.run_folder.provenance import METADATA_KEY

KEY = "frames"
"""Of the document in its metadata: ``run``, and ``table_sha256`` of the table that it belongs to."""
AGAIN = "run vmafarm merge again, which writes both"

NO_CLIPS = "frames, one row each, not a table of clips"


def refuse_frames(path: Path, metadata: Mapping[str, Any]) -> None:
    """Raise UsageError if a table that should have one row per clip says that it is one of frames."""
    if KEY in metadata:
        raise UsageError(
            f"{show(str(path))}: {NO_CLIPS}",
            "name a table with one row per clip, such as runs/full_features_<run>.parquet",
        )


def frames_beside(table: Path) -> Path:
    """Where the frames of a table stand."""
    return table.with_name(f"{table.stem}.frames.parquet")


def require_place(folder: RunFolder) -> None:
    """Raise UsageError if the frames of a run would take the place of another run's table."""
    if _is_table_of_another(folder):
        path, name = folder.frames_table, show(folder.name)
        raise UsageError(
            f"{show(str(path))} is the table of the run {show(run_of_table(path.name))}, so the frames of "
            f"{name} cannot be put there",
            "plan one of the two under another run.name",
        )


def require_no_frames(folder: RunFolder) -> None:
    """Raise UsageError if the table of a run would take the place of published frames of another."""
    try:
        with open_regular(folder.table, None) as file:
            run = _stated(file).get("run")
    except (OSError, DamagedError):  # no file, or no frames
        return
    raise UsageError(
        f"{show(str(folder.table))} has the frames of the run {show(str(run))}, so the table of "
        f"{show(folder.name)} cannot be put there",
        "plan one of the two under another run.name",
    )


def remove_frames(folder: RunFolder) -> None:
    """Remove the frames of an earlier table of this run; any other file stays."""
    if _is_table_of_another(folder):
        return
    try:
        with open_regular(folder.frames_table, None) as file:
            is_ours = _stated(file).get("run") == folder.name
    except (OSError, DamagedError):
        return
    if is_ours:
        durable.remove(folder.frames_table)


def _is_table_of_another(folder: RunFolder) -> bool:
    return RunFolder(folder.root, run_of_table(folder.frames_table.name)).path.exists()


@contextmanager
def open_frames(path: Path, table_sha256: str) -> Iterator[FileIO]:
    """Open a table of frames, if it belongs to this table; its rows are not read.

    Parameters
    ----------
    path
        `frames_beside` the table.
    table_sha256
        Of the table.

    Raises
    ------
    IncompleteError
        It is not there, cannot be read, or belongs to another table.
    UnavailableError
        This user has no permission to read it.
    """
    try:
        file = open_regular(path, None)
    except FileNotFoundError:
        raise IncompleteError(f"{show(str(path))} is not there", AGAIN) from None
    except PermissionError:
        raise denied(path) from None
    except OSError as error:
        raise IncompleteError(f"{show(str(path))} cannot be read: {reason(error)}", AGAIN) from None
    with file:
        try:
            if _stated(file).get("table_sha256") != table_sha256:
                raise DamagedError("it is of another merge")
        except (OSError, DamagedError) as error:
            why = reason(error) if isinstance(error, OSError) else show(str(error))
            raise IncompleteError(
                f"{show(str(path))} does not belong to the table beside it: {why}", AGAIN
            ) from None
        yield file


@working("")
def require_whole(path: Path, file: FileIO) -> None:
    """Raise IncompleteError unless the bytes of an open table of frames match its seal: reads all of it."""
    step("verifying the frames")
    try:
        StreamFile(file)
    except (OSError, DamagedError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise IncompleteError(f"{show(str(path))}: {why}", AGAIN) from None


def is_whole(path: Path, record: Mapping[str, Any]) -> bool:
    """Whether the bytes of a table of frames are those that a merge put there, by its record."""
    try:
        with open_stream(path) as found:
            return bool(found.digest == record["sha256"])
    except (OSError, DamagedError):
        return False


def _stated(file: FileIO) -> Mapping[str, Any]:
    """What a table of frames says it belongs to; raises DamagedError if it is none."""
    look_at_ends(file)
    try:
        metadata = pq.read_metadata(file).metadata or {}
        stated = parse_json(metadata[METADATA_KEY])[KEY]
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        raise DamagedError("it is not a table of frames") from None
    return stated if isinstance(stated, dict) else {}
