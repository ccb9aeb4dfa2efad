"""Durable rows of one slice: journal, atomic Parquet, ``.done``; and what the writers before left.

A row is safe once its journal record is fsynced; only then does its name stand in ``.done``. Every
`flush_every` rows the writer puts all its rows in place as one Parquet file, and at the end removes
the journal. A writer touches no file but its own, so two of them on one slice cannot harm each
other; readers take the union of all journals and Parquet files.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vmafarm.common.errors import reason
from vmafarm.common.steps import counting
from vmafarm.disk.arrow import make_table
from vmafarm.disk.durable import Appender, make_folder, remove, replace
from vmafarm.disk.file_stamp import ReadOnce
from vmafarm.disk.jsonl import checked_line, json_line
from vmafarm.disk.sealed_parquet import DamagedError, read_columns, write_sealed
from vmafarm.run_folder.manifest import most_rows
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import METADATA_KEY, Provenance
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA, write_clip_log
from vmafarm.shards.frames_file import FramesWriter
from vmafarm.shards.journal import read_journal
from vmafarm.shards.planned import read_places

REUSE = "reuse"
"""Begins the names of writers of rows that another run has scored; see `vmafarm.contents.reuse`."""


class ShardWriter:
    """Writes the rows of one slice, for one writer.

    Parameters
    ----------
    folder
        The run.
    slice_id
        The slice.
    writer
        Name of this writer; no two processes ever share one.
    provenance
        What determines the values; stored in the shard's metadata.
    flush_every
        Rows between two atomic writes.
    frames
        Keep the frames of each row as well.
    """

    def __init__(
        self, folder: RunFolder, slice_id: int, writer: str, provenance: Provenance, flush_every: int,
        *, frames: bool = False,
    ) -> None:  # fmt: skip
        shards = folder.shard_folder(slice_id)
        make_folder(shards)
        make_folder(folder.clip_logs)
        self.name = writer
        self._shard = shards / f"{writer}.parquet"
        self._clip_log = folder.clip_log(slice_id, writer)
        features = provenance.feature_set
        self._columns = features.columns
        self._schema = features.arrow_schema.with_metadata({METADATA_KEY: provenance.as_json().encode()})
        self._flush_every = flush_every
        self._rows: list[dict[str, Any]] = []
        self._entries: list[dict[str, Any]] = []
        self._flushed = 0
        self._frames = FramesWriter(folder, slice_id, writer, provenance) if frames else None
        self._journal = Appender(shards / f"{writer}.journal")
        self._journal.append(checked_line({"provenance": provenance.as_dict()}))
        self._done = Appender(shards / f"{writer}.done", durable=False)

    def append(
        self, row: Mapping[str, Any], entry: Mapping[str, Any],
        values: Mapping[str, NDArray[np.float64]] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        """Make one row durable, then count its clip as done.

        Parameters
        ----------
        row
            The columns of the feature set.
        entry
            The clip log's columns, ``finished_at`` as datetime.
        values
            Values of each measured feature, shape ``(frames,)``, if frames are kept.
        """
        record = {
            "row": {name: _to_json(row[name]) for name in self._columns},
            "log": {name: _to_json(value) for name, value in entry.items()}
            | {"finished_at": entry["finished_at"].isoformat()},
        }
        if self._frames is not None:  # first: a row counts only if its frames are there
            self._frames.append(row["clip_name"], values, entry["frames"])
        self._journal.append(checked_line(record))
        # Before .done: should that fail, `close` removes the journal, and the row must stand elsewhere.
        self._rows.append({name: row[name] for name in self._columns})
        self._entries.append(dict(entry))
        self._done.append(json_line(row["clip_name"]))
        if len(self._rows) - self._flushed >= self._flush_every:
            self.flush()

    def flush(self) -> None:
        """Put all rows so far in place as one Parquet file."""
        if self._flushed == len(self._rows):
            return
        entries = make_table(
            [[entry[name] for entry in self._entries] for name in CLIP_LOG_SCHEMA.names], CLIP_LOG_SCHEMA
        )
        replace(self._clip_log, partial(write_clip_log, entries))
        rows = make_table([[row[name] for row in self._rows] for name in self._columns], self._schema)
        replace(self._shard, partial(write_sealed, rows))
        self._flushed = len(self._rows)

    def close(self) -> None:
        """Flush, and remove the journal, whose rows all stand in the Parquet file now; frames likewise."""
        self.flush()
        self._journal.close()
        self._done.close()
        remove(self._journal.path)
        if self._frames is not None:
            self._frames.close()


def _to_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        if not math.isnan(value):
            raise ValueError("an infinite value cannot be a row's")
        return None
    return value


def read_done(folder: RunFolder, slices: Collection[int]) -> set[str]:
    """Names of the clips that have a durable row in these slices, whoever wrote it.

    Parameters
    ----------
    folder
        The run.
    slices
        Slices to look at.

    Returns
    -------
    set of str
        A shard that cannot be read counts as empty: its clips are done again, and the merge names
        the file.
    """
    return DoneReader().read(folder, slices)


class DoneReader:
    """`read_done` for those who look again and again: a file that has not changed is read once."""

    def __init__(self) -> None:
        self._files = ReadOnce(self._read, DamagedError)
        self._most_rows = 0

    @property
    def problems(self) -> dict[Path, str]:
        """Files that could not be read, or not wholly, with the reason."""
        return self._files.problems

    def read(self, folder: RunFolder, slices: Collection[int]) -> set[str]:
        """Names as `read_done` returns them."""
        self._most_rows = most_rows(folder)
        self._files.forget_removed()
        places = read_places(folder, slices)
        return {
            name
            for number in counting(slices, "reading", "slices", len(slices))
            for name in self._in_folder(folder.shard_folder(number))
            if places is None or places.get(name) == number
        }

    def count(self, folder: RunFolder, slices: Iterable[int], writer: str, enough: int) -> int:
        """Count the rows of one writer that are in its journals and shards, up to `enough`.

        A file that is there and cannot be read counts as having all of them: waiting does not mend it.
        """
        self._most_rows = self._most_rows or most_rows(folder)
        rows = 0
        for shards in map(folder.shard_folder, slices):
            if rows >= enough:
                break
            files = [path for suffix in _SUFFIXES for path in _files(shards, suffix) if path.stem == writer]
            rows += max((len(self._files.get(path) or ()) for path in files), default=0)
            if not self.problems.keys().isdisjoint(files):
                return enough
        return min(rows, enough)

    def _in_folder(self, shards: Path) -> list[str]:
        # The journals first: a writer removes its own only when its Parquet file has all the rows.
        # And all are read before the shards are listed: by then what has gone meanwhile is in one of those.
        self.problems.pop(shards, None)
        names: list[str] = []
        try:
            for suffix in _SUFFIXES:
                for path in _files(shards, suffix):
                    names += self._files.get(path) or ()
        except PermissionError as error:
            self.problems[shards] = reason(error)
        return names

    def _read(self, path: Path) -> list[str]:
        if path.suffix == ".journal":
            journal = read_journal(path)
            if journal.wrong:
                self.problems[path] = journal.wrong
            return [row["clip_name"] for row, _ in journal.rows]
        table = read_columns(path, {"clip_name": pa.string()}, self._most_rows)
        return [name for name in table["clip_name"].to_pylist() if name is not None]


_SUFFIXES = (".journal", ".parquet")


def _files(folder: Path, suffix: str) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == suffix)
    except (FileNotFoundError, NotADirectoryError):
        return []
