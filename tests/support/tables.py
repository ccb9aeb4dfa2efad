"""Published tables made of rows, for the verbs that take tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from support.merge_helpers import make_row

from vmafarm.run_folder.provenance import METADATA_KEY
from vmafarm.schema.features import ARROW_SCHEMA, FEATURE_NAMES

MADE: dict[str, Any] = {
    "engine": "ffmpeg", "engine_version": "9", "libvmaf_version": "3", "manifest": "sha256:00",
    "features": dict.fromkeys(FEATURE_NAMES, "measured"),
}  # fmt: skip


def write_rows(
    path: Path, rows: Iterable[str | dict[str, Any]], made: Mapping[str, Any] | None = MADE, **columns: list
) -> Path:
    """Write a table.

    Parameters
    ----------
    path
        Its file.
    rows
        Names of clips, of which `make_row` makes rows, or rows.
    made
        The document in its metadata; None: no metadata.
    **columns
        More columns, in front of which `mos` and the features stand.
    """
    full = [row if isinstance(row, dict) else make_row(row) for row in rows]
    table = pa.Table.from_pylist(full, schema=ARROW_SCHEMA)
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    metadata = {} if made is None else {METADATA_KEY: json.dumps(made, sort_keys=True).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


def with_changes(names: Iterable[str], **changes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of these clips, some of them with other values: ``with_changes("ab", b={"mos": 4.0})``."""
    return [make_row(name) | changes.get(name, {}) for name in names]


def read_split(path: Path) -> dict[str, str]:
    """Clip name to side, in the order of the rows."""
    rows = pq.ParquetFile(path).read(["clip_name", "split"])
    return dict(zip(rows["clip_name"].to_pylist(), rows["split"].to_pylist(), strict=True))


def document_of(path: Path) -> dict[str, Any]:
    """The document of vmafarm in a file's metadata."""
    return json.loads(pq.read_metadata(path).metadata[METADATA_KEY])
