"""A table that a user names: found, opened once, and checked before its rows are used."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from vmafarm.common.errors import UsageError, reason, show
from vmafarm.common.text import counted
from vmafarm.disk.jsonl import parse_json, why
from vmafarm.disk.readable import denied
from vmafarm.disk.regular_files import open_regular
from vmafarm.published.combined import Combined, read_combined
from vmafarm.published.frames_table import refuse_frames
from vmafarm.published.merge_record import read_merge_record
from vmafarm.published.side_table import CORPUS
from vmafarm.published.table import CHANGED, is_changed
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import METADATA_KEY, feature_set_of
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.features import FULL
from vmafarm.sql.errors import is_outside

NAME = "clip_name"
_HINT = "expected a table of vmafarm, such as runs/full_features_<run>.parquet, or the name of a run"


@dataclass(frozen=True)
class GivenTable:
    """An open table.

    Attributes
    ----------
    path
        As it was named.
    file
        Open for reading; the rows are those of this file, even if another one replaces it meanwhile.
    schema
        Its columns.
    rows
        Number of rows.
    keys
        All key-value metadata of the file.
    metadata
        The JSON document of vmafarm in it; empty if there is none.
    notes
        What is odd about it, although it can be used.
    """

    path: Path
    file: FileIO
    schema: pa.Schema
    rows: int
    keys: dict[bytes, bytes]
    metadata: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def source(self) -> str:
        """A path for DuckDB that leads to the open file."""
        return f"/proc/self/fd/{self.file.fileno()}"

    @property
    def features(self) -> FeatureSet:
        """What was measured, by its metadata; the default set where that does not say so."""
        try:
            return feature_set_of(self.metadata)
        except (KeyError, TypeError, ValueError):
            return FULL

    @property
    def combined(self) -> Combined | None:
        """The tables that it was made of; None: it was not combined, or its metadata does not say so."""
        try:
            return read_combined(self.metadata)
        except ValueError:
            return None

    def is_same_file(self, other: GivenTable) -> bool:
        """Whether both are one file, under two names or one."""
        return os.path.sameopenfile(self.file.fileno(), other.file.fileno())

    def require_names(self, named: int, different: int, repeated: Sequence[str]) -> None:
        """Raise UsageError unless each row has a name of its own.

        Parameters
        ----------
        named, different
            Number of rows with a name, and of different names.
        repeated
            The first names that occur more than once.
        """
        if named < self.rows:
            raise UsageError(
                f"{show(str(self.path))}: {counted(self.rows - named, 'row')} without a name, expected a "
                "clip_name in each row", _HINT,
            )  # fmt: skip
        if different < self.rows and self.combined is not None and CORPUS in self.schema.names:
            raise self._in_several_corpora(repeated)
        if different < self.rows:
            raise UsageError(
                f"{show(str(self.path))}: {self.rows:,} rows of {counted(different, 'clip')}, expected one "
                f"row per clip; several have {', '.join(map(show, repeated))}",
                "leave one row of each clip in the table",
            )

    def _in_several_corpora(self, repeated: Sequence[str]) -> UsageError:
        combined = self.combined
        hint = "take the tables of its corpora, one by one"
        if combined is not None and combined.how == "rows":
            hint += f": {show(', '.join(one.file for one in combined.sources))}"
        return UsageError(
            f"{show(str(self.path))}: several of its corpora have clips called "
            f"{', '.join(map(show, repeated))}, and clips are told apart by clip_name alone here",
            hint,
        )


def find_table(named: str, root: Path) -> Path:
    """Find the table that a user means.

    Parameters
    ----------
    named
        Path of a file, or the name of a run; a file of that name comes first.
    root
        Folder of all runs.

    Raises
    ------
    UsageError
        It is neither.
    """
    path = Path(named)
    is_file = os.path.lexists(path) and not path.is_dir()
    if is_file or "/" in named or named in ("", ".", "..") or path.suffix == ".parquet":
        return path
    folder = RunFolder(root, named)
    if os.path.lexists(folder.table):
        return folder.table
    if folder.manifest.exists():
        raise UsageError(
            f'the run "{show(named)}" has no table yet', f"publish it: vmafarm merge --run {show(named)}"
        )
    if path.is_dir():
        return path
    raise UsageError(
        f"{show(named)} is neither a file nor a run in {show(str(root))}",
        "name a table file; or a run, with its folder of runs (--set run.root=FOLDER)",
    )


@contextmanager
def open_given(path: Path) -> Iterator[GivenTable]:
    """Open a table, and check that it is one.

    Raises
    ------
    UsageError
        It is not there, is no regular file or no Parquet, has no text column ``clip_name``, has two columns
        of one name, is one of frames, or its metadata is damaged.
    UnavailableError
        This user has no permission to read it.
    """
    shown = show(str(path))
    try:
        file = open_regular(path, None)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{shown} is not there", _HINT) from None
    except PermissionError:
        raise denied(path) from None
    except OSError as error:
        raise UsageError(f"{shown} cannot be read: {reason(error)}", _HINT) from None
    with file:
        try:
            with pq.ParquetFile(file) as parquet:
                schema, keys = parquet.schema_arrow, dict(parquet.metadata.metadata or {})
                rows = parquet.metadata.num_rows
            _ = schema.names  # decoded now, as UTF-8 or not
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{shown} cannot be read as Parquet: {reason(error)}", _HINT) from None
        _require_columns(shown, schema)
        metadata = _read_metadata(shown, keys)
        refuse_frames(path, metadata)
        notes = _look_at_record(path, file)
        if METADATA_KEY not in keys:
            notes += (f"{shown} has no metadata of vmafarm: how it was made is not known",)
        yield GivenTable(path, file, schema, rows, keys, metadata, notes)


def _require_columns(shown: str, schema: pa.Schema) -> None:
    # DuckDB takes no notice of case in names of columns.
    seen: dict[str, str] = {}
    for name in schema.names:
        if name.lower() in seen:
            raise UsageError(
                f"{shown}: two columns are called {show(seen[name.lower()])} and {show(name)}, expected "
                "names that differ in more than case", "rename one of them",
            )  # fmt: skip
        seen[name.lower()] = name
    if NAME not in schema.names:
        few = ", ".join(map(show, schema.names[:8])) + (", ..." if len(schema.names) > 8 else "")
        raise UsageError(f"{shown}: no column clip_name; its columns are {few or 'none'}", _HINT)
    if not is_text(kind := schema.field(NAME).type):
        raise UsageError(f"{shown}: the column clip_name is {kind}, expected text", _HINT)


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are text."""
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value))


def is_number(kind: pa.DataType) -> bool:
    """Whether values of this type are numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _read_metadata(shown: str, keys: dict[bytes, bytes]) -> dict[str, Any]:
    try:
        document = parse_json(keys.get(METADATA_KEY, b"{}"))
        said = "" if isinstance(document, dict) else ": expected a JSON object"
    except ValueError as error:
        document, said = None, f": {why(error)}"
    if not isinstance(document, dict):
        raise UsageError(
            f"{shown}: the key vmafarm in its metadata is damaged{said}",
            "restore the table from a copy, or merge its run again",
        )
    return document


def _look_at_record(path: Path, file: FileIO) -> tuple[str, ...]:
    try:
        changed = is_changed(file, read_merge_record(path.with_suffix(".merge.json")))
    except (UsageError, OSError, ValueError):  # what is beside it may be anything
        return ()
    return (f"{show(str(path))} may be damaged: {CHANGED}",) if changed else ()


@contextmanager
def reading(*tables: GivenTable) -> Iterator[None]:
    """Say which tables were being read when pyarrow or DuckDB find them damaged; raises UsageError."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # pyarrow tells damage as an OSError without a number.
        if is_outside(error) or getattr(error, "errno", None) is not None:
            raise
        text = str(error).partition("\n")[0]
        at_fault = [table for table in tables if table.source in text] or list(tables)
        for table in tables:
            text = text.replace(table.source, table.path.name)
        which = " or ".join(show(str(table.path)) for table in at_fault)
        raise UsageError(f"{which} cannot be read: {show(text)}", "restore it from a copy") from None
