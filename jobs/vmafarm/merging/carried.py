"""The side table: columns of the label file (``corpus.carry``), published beside the table."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vmafarm.common.errors import UsageError, show
from vmafarm.disk import durable
from vmafarm.disk.regular_files import open_regular
from vmafarm.disk.sealed_parquet import write_sealed
from vmafarm.published.in_place import InPlace
from vmafarm.run_folder.label_columns import NAME, read_labels
from vmafarm.run_folder.paths import RunFolder


def read_carried(folder: RunFolder, columns: Sequence[str]) -> pa.Table | None:
    """Read the labels that are published with a table; None: no columns are asked for.

    Raises
    ------
    UsageError
        The run's labels are not there, are damaged or lack a column; or the side table would take the place
        of another run's table.
    UnavailableError
        They cannot be read.
    """
    if not columns:
        return None
    if _is_table_of_another(folder):
        raise UsageError(
            f"{show(str(folder.carried))} is the table of the run {show(folder.name)}.labels, so the labels "
            f"of {show(folder.name)} cannot be put there",
            "leave corpus.carry out, or plan one of the two under another run.name",
        )
    return read_labels(folder, columns)


def put_carried(folder: RunFolder, labels: pa.Table | None, place: InPlace) -> dict[str, Any]:
    """Put the side table of a table that has just been published in place, or remove that of an earlier one.

    Parameters
    ----------
    folder
        The run.
    labels
        As `read_carried` returns them.
    place
        The table.

    Returns
    -------
    dict
        What the record says of it: ``file``, ``columns``, ``rows`` and ``labelled``, the rows of clips that
        have a label. Empty: there is none.

    Raises
    ------
    SupersededError
        Another merge has published another table meanwhile.
    """
    if labels is None:
        if folder.carried.exists() and not _is_table_of_another(folder):
            with suppress(FileNotFoundError):
                durable.remove(folder.carried)
        return {}
    with open_regular(folder.table) as content:
        names = pq.ParquetFile(content).read([NAME], use_threads=False)[NAME]
    at = pc.index_in(names, labels[NAME].combine_chunks())
    columns = [labels[name].combine_chunks().take(at.combine_chunks()) for name in labels.schema.names[1:]]
    table = pa.table([names, *columns], names=labels.schema.names)
    place.replace(folder.carried, lambda file: write_sealed(table, file))
    valid = [column.is_valid().to_numpy(zero_copy_only=False) for column in columns]
    labelled = int(np.any(valid, axis=0).sum())
    return {
        "file": folder.carried.name,
        "columns": labels.schema.names[1:],
        "rows": table.num_rows,
        "labelled": labelled,
    }


def _is_table_of_another(folder: RunFolder) -> bool:
    """Whether there is a run whose table has the name of the side table."""
    return RunFolder(folder.root, f"{folder.name}.labels").path.exists()
