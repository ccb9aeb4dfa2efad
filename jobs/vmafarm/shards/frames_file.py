"""Values of every frame: the files of a writer beside its shards, how they are written and read.

A clip's frames are durable before its row is: they are appended to the writer's frames journal first. When
the writer has ended a slice, its frames stand in one Parquet file, and the journal is removed. So the frames
of each row that counts are in the frames files of the same writer and slice. Frames of a clip without a row
of that writer (it was killed between both) do not count.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pydantic
from numpy.typing import NDArray
from pydantic import Field

from vmafarm.common.errors import UnavailableError, reason, show
from vmafarm.disk.durable import Appender, make_folder, remove, replace
from vmafarm.disk.jsonl import Name, checked_body, checked_line, json_line, parse_json, why, with_checksum
from vmafarm.disk.regular_files import MOST_BYTES_OF_RECORDS, open_regular
from vmafarm.disk.sealed_parquet import DamagedError
from vmafarm.disk.sealed_stream import open_stream
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import METADATA_KEY, Provenance
from vmafarm.shards.frames_columns import (
    MOST_FRAMES,
    array_of,
    frames_schema,
    frames_table,
    joined_clips,
    write_frames,
)

__all__ = ["FramesWriter", "frame_features", "frames_of", "frames_schema", "read_frames"]


def frame_features(provenance: Provenance) -> tuple[str, ...]:
    """Features whose frames are kept: all that the plan measures, in the order of the set."""
    features = provenance.feature_set
    return features.must_measure if provenance.plan == "identity" else features.names


def frames_of(folder: RunFolder, shard: Path) -> tuple[Path, Path]:
    """Parquet file and journal with the frames of a shard's writer; `shard` may be its journal as well."""
    place = folder.frames / shard.parent.name
    return place / f"{shard.stem}.parquet", place / f"{shard.stem}.journal"


class FramesWriter:
    """Keeps the frames of the clips of one slice, for one writer.

    Parameters
    ----------
    folder
        The run.
    slice_id
        The slice.
    writer
        Name of this writer; no two processes ever share one.
    provenance
        What determines the values.
    """

    def __init__(self, folder: RunFolder, slice_id: int, writer: str, provenance: Provenance) -> None:
        self._parquet, journal = frames_of(folder, folder.shard_folder(slice_id) / f"{writer}.parquet")
        make_folder(journal.parent)
        self._names = frame_features(provenance)
        self._clips: set[str] = set()
        self._provenance = provenance
        self._journal = Appender(journal)
        self._journal.append(checked_line({"provenance": provenance.as_dict()}))

    def append(self, clip_name: str, values: Mapping[str, NDArray[np.float64]], frames: int) -> None:
        """Make the frames of one clip durable; call it before its row is appended.

        Parameters
        ----------
        clip_name
            The clip.
        values
            Values of each measured feature, shape ``(frames,)``; what is not kept is left out.
        frames
            Number of frames.
        """
        self._journal.append(_line(clip_name, [values.get(name) for name in self._names], frames))
        self._clips.add(clip_name)

    def close(self) -> None:
        """Put all frames in place as one Parquet file, then remove the journal.

        Raises
        ------
        UnavailableError
            The journal stays: it cannot be read back whole, or no file can be written.
        """
        self._journal.close()
        if self._clips:
            schema = _with_provenance(self._names, self._provenance)
            replace(self._parquet, partial(write_frames, schema, self._read_back()))
        remove(self._journal.path)

    def _read_back(self) -> Iterator[tuple[str, pa.Table]]:
        journal, clips = self._journal.path, 0
        try:
            for clip in read_frames(journal, self._names):
                clips += 1
                yield clip
            if clips != len(self._clips):
                raise DamagedError(f"frames of {clips:,} clips, {len(self._clips):,} were written")
        except (DamagedError, OSError) as error:
            why = show(reason(error) if isinstance(error, OSError) else str(error))
            raise UnavailableError(
                f"frames that were just written cannot be read back: {show(str(journal))}: {why}",
                f"check the disk; then move that file away, and also the shard {show(journal.parent.name)}/"
                f"{show(self._parquet.name)}, and run again: its clips are scored again",
            ) from None


def _with_provenance(names: Sequence[str], provenance: Provenance) -> pa.Schema:
    return frames_schema(names).with_metadata({METADATA_KEY: provenance.as_json().encode()})


def _line(clip_name: str, columns: Sequence[NDArray[np.float64] | None], frames: int) -> bytes:
    values = np.full((len(columns), frames), np.nan, "<f8")
    for row, column in zip(values, columns, strict=True):
        if column is not None:
            np.copyto(row, column, where=np.isfinite(column))
    packed = base64.b64encode(pa.compress(values, codec="zstd", asbytes=True))
    del values
    # By hand: the values of a long clip are tens of megabytes, of which JSON would make five copies.
    head = json_line({"clip_name": clip_name, "frames": frames}).rstrip(b"}\n")
    return with_checksum(b"".join((head, b',"values":"', packed, b'"}\n')))


def read_frames(path: Path, names: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    """Read the frames of a writer, one clip at a time, in the order in which they were written.

    Parameters
    ----------
    path
        A journal or a Parquet file of `FramesWriter`. Of a clip that is twice in a journal, the last counts.
    names
        Features to read, each of them one of the set of the file's provenance. A column that the file does
        not have, because its plan does not measure it, is NaN.

    Yields
    ------
    name : str
        Of the clip.
    table : pyarrow.Table
        Its rows with the columns of `frames_schema`; the metadata has the provenance, as that of a shard.

    Raises
    ------
    OSError
        It cannot be read.
    DamagedError
        It is damaged, or holds what no writer writes. Lines of a journal that were cut when their writer died
        are passed over.
    """
    read = _read_journal if path.suffix == ".journal" else _read_parquet
    return read(path, names)


class _Record(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    provenance: dict[str, Any] | None = None
    clip_name: Name | None = None
    frames: Annotated[int, Field(strict=True, ge=1, le=MOST_FRAMES)] | None = None
    values: str | None = None


def _read_journal(path: Path, names: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    with open_regular(path, None) as raw:
        provenance: Provenance | None = None
        last: dict[str, int] = {}
        for at, record in _records(raw):
            if record.provenance is not None:
                provenance = _provenance(record.provenance)
            elif record.clip_name is None or record.frames is None or record.values is None:
                raise DamagedError("a record without a clip, or without its frames")
            else:
                last.pop(record.clip_name, None)  # in the order of the records that count
                last[record.clip_name] = at
        if last and provenance is None:  # nobody knows what these values are
            raise DamagedError("the line with its provenance is damaged")
        if provenance is None:
            return
        own, schema = frame_features(provenance), _for_names(names, provenance)
        for name, at in last.items():
            _, record = next(_records(raw, at))
            assert record.frames is not None
            assert record.values is not None
            values = dict(zip(own, _unpacked(record.values, len(own), record.frames), strict=True))
            missing = np.full(record.frames, np.nan)
            yield name, frames_table(name, [values.get(n, missing) for n in names], record.frames, schema)


def _records(raw: io.FileIO, begin: int = 0) -> Iterator[tuple[int, _Record]]:
    """The whole records from a place on, and where each begins."""
    raw.seek(begin)
    file, at = io.BufferedReader(raw), begin
    try:
        while line := file.readline(MOST_BYTES_OF_RECORDS):
            if len(line) == MOST_BYTES_OF_RECORDS:
                raise DamagedError(f"a line of more than {MOST_BYTES_OF_RECORDS:,} bytes")
            begin, at = at, at + len(line)
            if (body := checked_body(line)) is None:  # its writer died in it
                continue
            try:
                record = _Record.model_validate_json(body)
            except ValueError as error:
                raise DamagedError(why(error)) from None
            yield begin, record
    finally:
        file.detach()


def _unpacked(text: str, features: int, frames: int) -> NDArray[np.float64]:
    try:
        packed = base64.b64decode(text, validate=True)
        content = pa.decompress(packed, features * frames * 8, codec="zstd")
    except (ValueError, pa.ArrowException, OSError):
        raise DamagedError(f"a clip whose values are not those of {frames:,} frames") from None
    return np.frombuffer(content, "<f8").reshape(features, frames)


def _read_parquet(path: Path, names: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    with open_stream(path) as file:
        try:
            provenance = _provenance(parse_json(file.schema.metadata[METADATA_KEY]))
        except (KeyError, TypeError, ValueError):
            raise DamagedError("it does not state its provenance") from None
        own = frames_schema(frame_features(provenance))
        if not file.schema.equals(own):
            raise DamagedError(f"its columns are not those of its provenance: {show(str(file.schema.names))}")
        schema = _for_names(names, provenance)
        known, wanted, seen = {*own.names}, schema.names, set[str]()
        for name, table in joined_clips(file.tables()):
            if name in seen:
                raise DamagedError(f"the frames of {show(name)} are there twice")
            seen.add(name)
            missing = array_of(np.full(table.num_rows, np.nan))
            arrays = [table[n] if n in known else missing for n in wanted]
            yield name, pa.Table.from_arrays(arrays, schema=schema)


def _provenance(document: dict[str, Any]) -> Provenance:
    try:
        return Provenance.from_dict(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(f"its provenance cannot be read: {show(repr(error))}") from None


def _for_names(names: Sequence[str], provenance: Provenance) -> pa.Schema:
    if unknown := set(names).difference(provenance.feature_set.names):
        raise DamagedError(f"its feature set does not have {', '.join(sorted(unknown))}")
    return _with_provenance(names, provenance)
