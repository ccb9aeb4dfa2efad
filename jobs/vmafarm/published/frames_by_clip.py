"""Reads one clip of a frames table: the values of features by frame, published beside the table of a run.

It may have 23 million rows: as they are sorted, one clip is found by the names in a few row groups.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vmafarm.common.errors import show
from vmafarm.common.text import counted
from vmafarm.disk.arrow import numbers
from vmafarm.disk.jsonl import parse_json, why
from vmafarm.disk.regular_files import open_regular
from vmafarm.disk.sealed_parquet import MOST_ROWS, DamagedError, look_at_ends, require_rows
from vmafarm.published.up_to_date import digest_file
from vmafarm.run_folder.label_columns import NAME
from vmafarm.run_folder.provenance import METADATA_KEY, feature_set_of
from vmafarm.schema.feature_set import FeatureSet

FRAME = "frame"
"""Column that numbers the frames of a clip, from 0."""
KEY, TABLE_KEY = "frames", "table_sha256"
"""Of the document in its metadata, and in there, of the SHA-256 of the table that it was published with."""


class OtherTableError(DamagedError):
    """The frames table is whole, but was published with another table."""


@dataclass(frozen=True)
class FramesHead:
    """What a frames table says of itself.

    Attributes
    ----------
    features
        Those that it has, in order.
    feature_set
        What was measured.
    rows
        Frames of all clips.
    table_sha256
        SHA-256 of the table that it was published with.
    """

    features: tuple[str, ...]
    feature_set: FeatureSet
    rows: int
    table_sha256: str

    def require_of(self, table: Path) -> None:
        """Raise OtherTableError unless it was published with the table that lies here; or OSError."""
        if digest_file(table) != self.table_sha256:
            raise OtherTableError(f"it was published with another table than {show(table.name)} beside it")


class FramesTable:
    """An open frames table.

    Parameters
    ----------
    file
        The file, open for reading.

    Attributes
    ----------
    head
        What it says of itself.

    Raises
    ------
    OSError
        It cannot be read.
    DamagedError
        It is not a frames table, or damaged.
    """

    def __init__(self, file: FileIO) -> None:
        look_at_ends(file)
        self._bytes = os.fstat(file.fileno()).st_size
        with self._explained():
            self._metadata = pq.read_metadata(file)
            self.head = _read_head(self._metadata.schema.to_arrow_schema(), self._metadata)
            # A hostile file repeats one long name a million times: a dictionary has it once.
            self._file = pq.ParquetFile(
                file, metadata=self._metadata, read_dictionary=[NAME], pre_buffer=False,
                page_checksum_verification=True,
            )  # fmt: skip

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # Arrow tells damage without a number
                raise
            said = show(str(error).strip().partition("\n")[0])
            raise DamagedError(f"cut or damaged ({self._bytes:,} bytes): {said}") from None

    def read_clip(self, clip: str, features: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """Read some features of one clip.

        Parameters
        ----------
        clip
            Its name.
        features
            Of those in the table.

        Returns
        -------
        dict
            Feature to its values by frame, float64 of shape (frames,); NaN: it has none. Empty if the table
            does not have the clip.

        Raises
        ------
        OSError, DamagedError
            As for the whole; also if its frames are not numbered from 0 on.
        """
        columns = (FRAME, *features)
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in columns}
        with self._explained():
            for group in self._groups_with(clip):
                rows = self._rows_of(group, clip)
                for name in columns if rows.any() else ():
                    parts[name].append(numbers(self._read(group, name))[rows])
        if not parts[FRAME]:
            return {}
        found = {name: np.concatenate(some) for name, some in parts.items()}
        if not np.array_equal(frames := found.pop(FRAME), np.arange(len(frames))):
            raise DamagedError(f"the frames of {show(clip)} are not numbered from 0 to {len(frames) - 1:,}")
        return found

    def clips(self) -> list[str]:
        """Names of all clips, in order; takes long in a table of a large corpus."""
        found: dict[str, None] = {}
        with self._explained():
            for group in range(self._metadata.num_row_groups):
                for chunk in self._read(group, NAME).chunks:
                    found |= dict.fromkeys(chunk.dictionary.to_pylist())
        return list(found)

    def _groups_with(self, clip: str) -> Iterator[int]:
        """Row groups that have a clip, as they are sorted by its name.

        Statistics would say so at once, but those of a damaged footer end the process: pyarrow has functions
        out of which an exception of C++ leads nowhere.
        """
        groups = range(self._metadata.num_row_groups)
        for group in groups[bisect_left(groups, clip, key=lambda group: self._ends(group)[1]) :]:
            if self._ends(group)[0] > clip:
                return
            yield group

    def _ends(self, group: int) -> tuple[str, str]:
        """The first and the last clip of a row group."""
        names = self._read(group, NAME)
        if not len(names):
            raise DamagedError("a row group without rows")
        return names[0].as_py(), names[-1].as_py()

    def _read(self, group: int, name: str) -> pa.ChunkedArray:
        rows = self._metadata.row_group(group).num_rows
        require_rows(rows, MOST_ROWS)
        column = self._file.read_row_group(group, [name], use_threads=False).column(0)
        if column.null_count:
            raise DamagedError(f"{name} has nulls")
        if len(column) != rows:  # as Arrow reads a column whose first page cannot be read
            raise DamagedError(f"{len(column):,} values of {name} in {counted(rows, 'row')}")
        return column

    def _rows_of(self, group: int, clip: str) -> NDArray[np.bool_]:
        found = [np.empty(0, bool)]
        for chunk in self._read(group, NAME).chunks:
            known = chunk.dictionary.to_pylist()
            places = [at for at, name in enumerate(known) if name == clip]
            found.append(np.isin(numbers(pa.chunked_array([chunk.indices])), places))
        return np.concatenate(found)


def _read_head(schema: pa.Schema, metadata: pq.FileMetaData) -> FramesHead:
    names, kinds = list(schema.names), schema.types
    expected = [pa.string(), pa.int32(), *[pa.float64()] * (len(kinds) - 2)]
    if names[:2] != [NAME, FRAME] or len(kinds) < 3 or kinds != expected:
        raise DamagedError(
            f"no frames table: its columns are not {NAME} (string), {FRAME} (int32) and features (double)"
        )
    try:
        document: Mapping[str, Any] = parse_json((metadata.metadata or {})[METADATA_KEY])
        features, table = feature_set_of(document), document[KEY][TABLE_KEY]
        if not isinstance(table, str):
            raise TypeError
    except (KeyError, TypeError, ValueError) as error:
        odd = f": {why(error)}" if isinstance(error, ValueError) else ""
        raise DamagedError(f"no frames table: its metadata does not say which table it is of{odd}") from None
    if names[2:] != [name for name in features.names if name in names[2:]]:
        raise DamagedError("no frames table: its columns are not the features of its set, in their order")
    return FramesHead(tuple(names[2:]), features, metadata.num_rows, table)


@contextmanager
def opened_frames(path: Path) -> Iterator[FramesTable]:
    """Open a frames table; raises as `FramesTable` does."""
    with open_regular(path, None) as file:
        yield FramesTable(file)
