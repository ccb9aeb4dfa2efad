"""Space on disk that a run will take, from the clips that have their rows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from vmafarm.disk.sealed_parquet import DamagedError, read_columns, write_sealed
from vmafarm.engines import ENGINES
from vmafarm.run_folder.manifest import most_rows
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import read_provenance
from vmafarm.schema.features import FULL
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA, read_clip_log, shard_of
from vmafarm.shards.frames_file import frames_of

_ROWS = 200
"""So many rows tell how well rows compress."""
_PLAIN = {"compression_level": 3, "use_dictionary": False}
"""As the final table is written; see `vmafarm.merging.table`."""


@dataclass(frozen=True)
class Footprint:
    """Space on disk.

    Attributes
    ----------
    scratch_bytes
        Decoded frames of the largest measured clip; 0: the engine reads the clips themselves.
    width, height, frames, bit_depth
        Of that clip.
    table_bytes
        Of the final table.
    folder_bytes
        Of the shards and clip logs.
    frames_bytes
        Of the frames, in the run folder and once more beside the table; 0: the run does not keep them.
    """

    scratch_bytes: int
    width: int
    height: int
    frames: int
    bit_depth: int
    table_bytes: int
    folder_bytes: int
    frames_bytes: int = 0


def frame_bytes(width: int, height: int, bit_depth: int) -> int:
    """Bytes of a decoded frame, 4:2:0; more than 8 bit take two bytes a sample."""
    chroma = -(-width // 2) * -(-height // 2)
    return (width * height + 2 * chroma) * (1 if bit_depth == 8 else 2)


def footprint(folder: RunFolder, logs: Sequence[Path], clips: int, slices: int) -> Footprint | None:
    """Space that a run will take.

    Parameters
    ----------
    folder
        The run.
    logs
        Clip logs of the clips to judge by; their shards lie where the writers put them.
    clips, slices
        Of the whole run.

    Returns
    -------
    Footprint or None
        None: there are no rows to judge by.
    """
    rows, entries = _read(folder, logs)
    if not rows.num_rows:
        return None
    sides = zip(rows["width"].to_pylist(), rows["height"].to_pylist(), strict=True)
    by_name = dict(zip(rows["clip_name"].to_pylist(), sides, strict=True))
    # A log is written before its shard: of a writer that was killed in between it has more clips.
    known = [entry for entry in entries.to_pylist() if entry["clip_name"] in by_name]
    if not known:
        return None
    frames, width, height, depth = max(
        ((e["frames"], *by_name[e["clip_name"]], e["bit_depth"]) for e in known),
        key=lambda clip: clip[0] * frame_bytes(*clip[1:]),
    )
    engine = ENGINES.get(entries["engine"][0].as_py())
    return Footprint(
        scratch_bytes=0 if engine and engine.runs_in_ffmpeg else frames * frame_bytes(width, height, depth),
        width=width, height=height, frames=frames, bit_depth=depth,
        table_bytes=_extrapolated(rows, 1, clips, **_PLAIN),
        folder_bytes=sum(_extrapolated(one, slices, clips) for one in (rows, entries)),
        frames_bytes=_frames_bytes(folder, logs, clips),
    )  # fmt: skip


def _frames_bytes(folder: RunFolder, logs: Sequence[Path], clips: int) -> int:
    """Bytes of the frames of so many clips, twice, by the Parquet files of writers."""
    found = measured = 0
    for path in logs:
        with suppress(OSError, DamagedError):
            bytes_ = frames_of(folder, shard_of(folder, path))[0].stat().st_size
            measured += read_clip_log(path, most_rows(folder), ("clip_name",)).num_rows
            found += bytes_
        if measured >= _ROWS:
            break
    return 2 * found * clips // measured if measured else 0


def _extrapolated(sample: pa.Table, files: int, rows: int, **options: object) -> int:
    """Bytes of files with so many rows together, as far as a sample tells."""
    one = _written(sample.slice(0, 1), options)
    if sample.num_rows == 1:
        return one * files + int(sample.nbytes) * rows
    row = (_written(sample, options) - one) / (sample.num_rows - 1)
    return int((one - row) * files + row * rows)


def _written(table: pa.Table, options: dict[str, object]) -> int:
    buffer = io.BytesIO()
    write_sealed(table, buffer, **options)
    return buffer.tell()


def _read(folder: RunFolder, logs: Sequence[Path]) -> tuple[pa.Table, pa.Table]:
    """Rows and clip log entries of the same clips, of the first files that have enough of them."""
    provenance = read_provenance(folder.provenance)
    schema = (provenance.feature_set if provenance else FULL).arrow_schema
    rows, entries = [schema.empty_table()], [CLIP_LOG_SCHEMA.empty_table()]
    most, types = most_rows(folder), {field.name: field.type for field in schema}
    for path in logs:
        with suppress(OSError, DamagedError):
            found = read_columns(shard_of(folder, path), types, most)
            entries.append(read_clip_log(path, most))
            rows.append(found)
        if sum(table.num_rows for table in rows) >= _ROWS:
            break
    return tuple(
        pa.concat_tables([table.replace_schema_metadata(None) for table in tables])
        for tables in (rows, entries)
    )
