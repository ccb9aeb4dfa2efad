"""Frames tables for tests, as a merge publishes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from vmafarm.published.frames_by_clip import KEY, TABLE_KEY
from vmafarm.published.up_to_date import digest_file
from vmafarm.run_folder.provenance import METADATA_KEY, Provenance
from vmafarm.shards.frames_columns import frames_schema, frames_table

ROWS = 64
"""Of a row group, unless a clip has more: so few that small tables have several."""


Clips = Mapping[str, Mapping[str, ArrayLike]]


def write_frames(path: Path, clips: Clips, provenance: Provenance, table: Path | None = None) -> Path:
    """Write a frames table.

    Parameters
    ----------
    path
        The file.
    clips
        Name of each clip to the values of its features by frame.
    provenance
        Of the run.
    table
        The table that it was published with; None: one that is not here.
    """
    features = list(next(iter(clips.values())))
    document = provenance.as_dict() | {
        KEY: {"run": "demo", TABLE_KEY: "0" * 64 if table is None else digest_file(table)}
    }
    schema = frames_schema(features).with_metadata({METADATA_KEY: json.dumps(document)})
    encoding = dict.fromkeys(features, "BYTE_STREAM_SPLIT")
    with pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=["clip_name"], column_encoding=encoding,
        write_statistics=["clip_name", "frame"], write_page_checksum=True,
    ) as writer:  # fmt: skip
        waiting: list[pa.Table] = []
        for name in sorted(clips, key=str.encode):
            values = [np.asarray(clips[name][feature], float) for feature in features]
            waiting.append(frames_table(name, values, len(values[0]), schema))
            if sum(part.num_rows for part in waiting) >= ROWS:
                writer.write_table(pa.concat_tables(waiting).combine_chunks())
                waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting).combine_chunks())
    return path
