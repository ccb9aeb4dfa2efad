"""The labels of a run's clips besides their scores, and those that are published beside its table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from vmafarm.common.errors import UsageError, show
from vmafarm.disk.readable import denied
from vmafarm.disk.sealed_parquet import DamagedError, open_sealed
from vmafarm.run_folder.manifest import most_rows
from vmafarm.run_folder.paths import RunFolder

NAME = "clip_name"
NO_LABELS = pa.Table.from_batches([], pa.schema([pa.field(NAME, pa.string())]))  # no pandas, as empty_table()
"""Of a run whose label file says no more than the scores."""
TYPES = (pa.string(), pa.float64())
"""Of the columns of labels."""


def read_labels(
    folder: RunFolder, columns: Sequence[str] | None = None, path: Path | None = None
) -> pa.Table:
    """Read the labels of a run.

    Parameters
    ----------
    folder
        The run.
    columns
        Those to read besides ``clip_name``; None: all.
    path
        The file; None: that of the run's plan.

    Returns
    -------
    pyarrow.Table
        ``clip_name`` and the other columns of the label file, text or double; null: the clip has no label.
        Without rows, and with ``clip_name`` alone, if the run has none.

    Raises
    ------
    UsageError
        The file is damaged, or lacks a column.
    UnavailableError
        It cannot be read.
    """
    path = path or folder.labels
    hint = f"plan the run again, which writes it: vmafarm plan --run {folder.name}"
    try:
        file = open_sealed(path, most_rows(folder))
        known = file.schema.names
        if known[:1] != [NAME] or any(kind not in TYPES for kind in file.schema.types):
            raise DamagedError("its columns are not those of labels")
        unknown = [name for name in columns or () if name not in known]
        if unknown:
            raise UsageError(
                f"{show(str(path))} has no column {', '.join(map(show, unknown))}, "
                f"expected one of {', '.join(map(show, known[1:])) or 'none'}",
                hint,
            )
        return file.read(None if columns is None else [NAME, *columns])
    except FileNotFoundError:
        if columns:
            raise UsageError(
                f"{show(str(path))}: no such file: when {show(folder.name)} was planned, its label file had "
                "no columns besides names and scores",
                hint,
            ) from None
        return NO_LABELS
    except PermissionError:
        raise denied(path) from None
    except (OSError, DamagedError) as error:
        raise UsageError(f"{show(str(path))}: {show(str(error))}", hint) from None
