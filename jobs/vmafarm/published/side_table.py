"""The side table: labels of the clips, published beside a table with one row per row of the table."""

from __future__ import annotations

from io import FileIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vmafarm.common.errors import IncompleteError, reason, show
from vmafarm.disk.readable import denied
from vmafarm.disk.regular_files import open_regular
from vmafarm.disk.sealed_parquet import DamagedError, SealedFile, open_sealed
from vmafarm.published.combined import Combined
from vmafarm.run_folder.label_columns import NAME, TYPES
from vmafarm.run_folder.provenance import METADATA_KEY

CORPUS = "corpus"
"""Column that names a clip together with its name, in combined tables that have it."""


def side_path(table: Path) -> Path:
    """Where the side table of a table stands."""
    return table.with_name(f"{table.stem}.labels.parquet")


def key_columns(combined: Combined | None) -> list[str]:
    """What names a row of a table, and stands first in its side table."""
    return [NAME, CORPUS] if combined is not None and combined.of(CORPUS) else [NAME]


def read_side(table: Path, file: FileIO, combined: Combined | None) -> pa.Table | None:
    """Read the side table of a table, if it belongs to it.

    Of a run's table the names of the clips say so; a combined table states the digest of its side table.

    Parameters
    ----------
    table
        Where the table lies.
    file
        The open table.
    combined
        What it says of itself; None: it was not combined.

    Returns
    -------
    pyarrow.Table or None
        `key_columns`, then the labels, each text or double; null: the clip has no such label. Its rows are
        those of the table, in the same order. None: there is no side table.

    Raises
    ------
    IncompleteError
        It is damaged, or is that of another table.
    UnavailableError
        This user has no permission to read it.
    """
    path, keys = side_path(table), key_columns(combined)
    if combined is not None and combined.labels is None:
        return None
    try:
        if is_table(path):
            return None
        with pq.ParquetFile(file) as content:
            named = content.read(keys, use_threads=False)
        side = open_sealed(path, max(1, named.num_rows))
        _require_labels(side, keys)
        if combined is not None and combined.labels is not None and side.digest != combined.labels.sha256:
            raise DamagedError("the table states another digest of it")
        labels = side.read()
        if any(not labels[key].equals(named[key].cast(pa.string())) for key in keys):
            raise DamagedError("its clips are not those of the table, row by row")
    except FileNotFoundError:
        return None
    except PermissionError:
        raise denied(path) from None
    except (OSError, DamagedError, pa.ArrowException) as error:
        why = reason(error) if isinstance(error, OSError) else show(str(error))
        again = "combine the tables again" if combined else "run vmafarm merge again"
        raise IncompleteError(
            f"{show(str(path))} does not belong to {show(table.name)} beside it: {why}",
            f"{again}, which writes both; or move it away to go on without its labels",
        ) from None
    return labels


def is_table(path: Path) -> bool:
    """Whether a file is a published or combined table, which may have the name of a side table.

    Raises
    ------
    OSError
        It cannot be read.
    """
    with open_regular(path, None) as file:
        try:
            return METADATA_KEY in (pq.read_metadata(file).metadata or {})
        except pa.ArrowException:
            return False


def is_side(path: Path) -> bool:
    """Whether a file is a side table, whatever table it belongs to; one that cannot be read is none."""
    try:
        file = open_sealed(path)
        _require_labels(file, [NAME])
    except (OSError, DamagedError):
        return False
    return METADATA_KEY not in (file.schema.metadata or {})


def _require_labels(file: SealedFile, keys: list[str]) -> None:
    names = file.schema.names
    is_odd = names[: len(keys)] != keys or any(kind not in TYPES for kind in file.schema.types)
    if is_odd or len({name.lower() for name in names}) < len(names):
        raise DamagedError("its columns are not those of labels")
