"""The frames of the rows that a merge takes, gathered from the files of all writers in the table's order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vmafarm.common.errors import reason, show
from vmafarm.common.steps import counting
from vmafarm.common.text import counted
from vmafarm.disk.sealed_parquet import DamagedError
from vmafarm.merging.sources import Sources
from vmafarm.process.scratch import in_scratch
from vmafarm.run_folder.manifest import most_rows
from vmafarm.run_folder.paths import RunFolder
from vmafarm.shards.clip_log import clip_log_of, read_clip_log
from vmafarm.shards.footers import Finding, examples, short
from vmafarm.shards.frames_file import frame_features, frames_of, read_frames
from vmafarm.sql import templates as sql

_BYTES = 8
"""Of a value."""
_PARTS = 64
"""Scratch files; each holds clips that are next to each other in the table, so that reading goes one way."""


class FrameSources:
    """The frames of the rows of one merge.

    They are copied to the scratch folder writer by writer, and taken from there in the order of the table: so
    memory holds one clip, besides an index of all clips.

    Parameters
    ----------
    folder
        The run.
    scratch
        Private folder; it takes 8 bytes per frame and feature.
    sources
        The files that the rows come from.

    Attributes
    ----------
    clips
        How many there are.
    names
        Features whose frames some writer kept, in the order of the set.
    """

    def __init__(self, folder: RunFolder, scratch: Path, sources: Sources) -> None:
        self._folder, self._scratch, self._sources = folder, scratch / "frames", sources
        self.clips, self.names = 0, tuple[str, ...]()

    def gather(self, connection: duckdb.DuckDBPyConnection, *, chosen: bool) -> list[Finding]:
        """Copy the frames of each row to the scratch folder; the findings name files that lack some.

        Parameters
        ----------
        connection
            Holds the table ``chosen``, if that is to be used.
        chosen
            As for `vmafarm.merging.table.TableWriter.write`.
        """
        wanted = self._find_places(connection, chosen)
        self._made = [self._sources.writer_of(file) for file in wanted]
        kept = [frame_features(made) for _, made in self._made]
        every = set().union(*kept)
        self.names = tuple(name for name in self._sources.features.names if name in every)
        self._measured = np.array(
            [[n in own and n not in made.constant for n in self.names]
             for own, (_, made) in zip(kept, self._made, strict=True)], bool,
        )  # fmt: skip
        self._begins = np.full(self.clips, -1, np.int64)
        self._counts, self._logged, self._writers = np.full((3, self.clips), -1, np.int32)
        lacking = []
        with in_scratch(self._scratch.parent), ExitStack() as stack:
            self._scratch.mkdir()
            self._parts = [stack.enter_context(self._part(n).open("wb")) for n in range(_PARTS)]
            writers = counting(wanted.values(), "gathering frames:", "writers", len(wanted))
            for number, places in enumerate(writers):
                self._read_log(number, places)
                if why := self._take(number, places):
                    lacking.append(why)
        lost = int((self._begins < 0).sum())
        message = (
            f"{counted(lost, 'row')} without frames: {examples(lacking)}. Restore such a file from a copy, "
            "or move the writer's files of that slice (.parquet, .journal, .done) out of shards and frames, "
            "and run again, which scores these clips again"
        )
        return [Finding("frames", "error", message, lost)] if lost else []

    def _find_places(self, connection: duckdb.DuckDBPyConnection, chosen: bool) -> dict[str, dict[str, int]]:
        """The files of rows, and of each the names of the clips that it is taken for, with their place."""
        shards, bound = self._sources.shards()
        places = sql.render("merge/places", shards=shards, chosen=chosen)
        wanted: dict[str, dict[str, int]] = {}
        for batch in connection.sql(places, params=bound).to_arrow_reader():
            for name, file in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                wanted.setdefault(file, {})[name] = self.clips
                self.clips += 1
        return wanted

    def _part(self, number: int) -> Path:
        return self._scratch / str(number)

    def _take(self, number: int, places: Mapping[str, int]) -> str:
        """Copy the frames of one writer's rows; returns why some could not be."""
        parquet, journal = frames_of(self._folder, self._made[number][0])
        left, wrong, there = set(places), "", False
        # A writer that ends meanwhile moves its frames from its journal to its Parquet file.
        for path in (journal, parquet):
            if not left:
                break
            try:
                for name, table in read_frames(path, self.names):
                    if name in places:
                        self._keep(number, places[name], table)
                        left.discard(name)
                there = True
            except FileNotFoundError:
                continue
            except (OSError, DamagedError) as error:
                wrong = f"{short(path, self._folder.frames)}: {reason(error)}"
        if not left:
            return ""
        which = f"{counted(len(left), 'row')}, such as {show(min(left))}"
        lacks = "lacks the frames of" if there else "is not there, with the frames of"
        return wrong or f"{short(parquet, self._folder.frames)} {lacks} {which}"

    def _keep(self, number: int, place: int, table: pa.Table) -> None:
        part = self._parts[self._part_of(place)]
        self._begins[place], self._counts[place] = part.tell(), table.num_rows
        self._writers[place] = number
        with in_scratch(self._scratch.parent):
            for column in table.select(self.names).columns:
                for chunk in column.chunks:
                    begin = chunk.offset * _BYTES
                    part.write(memoryview(chunk.buffers()[1])[begin : begin + len(chunk) * _BYTES])

    def _part_of(self, place: int) -> int:
        return place * _PARTS // self.clips

    def _read_log(self, number: int, places: Mapping[str, int]) -> None:
        """Note how many frames each clip has by the log of its writer, if that can be read."""
        shard, _ = self._made[number]
        path, columns = clip_log_of(self._folder, shard), ("clip_name", "frames")
        try:
            log = read_clip_log(path, most_rows(self._folder), columns)
            logged = dict(zip(*(log[name].to_pylist() for name in columns), strict=True))
        except (OSError, DamagedError):  # told elsewhere
            logged = {}
        for name, place in places.items():
            entry = self._sources.recovered.entries.get((name, shard), {})
            self._logged[place] = logged.get(name, entry.get("frames", -1))

    def values(self) -> Iterator[NDArray[np.float64]]:
        """The frames of each clip in the order of the table, shape ``(features, frames)``; once only."""
        at, content = -1, np.empty(0)
        for place in range(self.clips):
            if self._part_of(place) != at:
                at = self._part_of(place)
                content = self._mapped(self._part(at))
            frames, begin = int(self._counts[place]), int(self._begins[place]) // _BYTES
            values = content[begin : begin + len(self.names) * frames]
            yield values.reshape(len(self.names), frames)

    def _mapped(self, path: Path) -> NDArray[np.float64]:
        """The values of a scratch file, which is removed: it goes with the last of them."""
        with in_scratch(self._scratch.parent):
            is_empty = not path.stat().st_size  # a set may measure nothing
            content = np.empty(0) if is_empty else np.memmap(path, np.float64, "r")
            path.unlink()
        return np.asarray(content)  # a plain view: each slice of np.memmap takes as long as pooling does

    def logged_frames(self, place: int) -> int:
        """How many frames a clip has by its clip log; -1: that is not known."""
        return int(self._logged[place])

    def measured(self, place: int) -> NDArray[np.bool_]:
        """Which features a clip's writer measured, and so kept; others were filled in."""
        found: NDArray[np.bool_] = self._measured[self._writers[place]]
        return found

    def shard(self, place: int) -> str:
        """Short name of the shard that a row comes from."""
        return short(self._made[self._writers[place]][0], self._folder.shards)
