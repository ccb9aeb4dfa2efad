"""Frames of a writer: what was appended is read back, from the journal and from the Parquet file."""

from __future__ import annotations

import base64
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from support.errors_document import documented
from support.shard_helpers import PROVENANCE, SLICE

from vmafarm.common.errors import UnavailableError
from vmafarm.disk import durable
from vmafarm.disk.jsonl import checked_line
from vmafarm.disk.sealed_parquet import DamagedError
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import METADATA_KEY
from vmafarm.schema.features import FULL
from vmafarm.shards import frames_columns
from vmafarm.shards.frames_columns import write_frames
from vmafarm.shards.frames_file import FramesWriter, frame_features, frames_of, frames_schema, read_frames

IDENTITY = replace(PROVENANCE, plan="identity", constant=FULL.known)
NAMES = frame_features(PROVENANCE)
Values = dict[str, NDArray[np.float64]]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path, "r")


def values_of(number: int, frames: int) -> Values:
    """Values of a clip that no other has; those of one feature are not finite."""
    found = {name: np.arange(frames) / 7 + number + place for place, name in enumerate(FULL.names)}
    return found | {"psnr_y": np.full(frames, math.inf)}


def paths(folder: RunFolder, writer: str = "w") -> tuple[Path, Path]:
    return frames_of(folder, folder.shard_folder(SLICE) / f"{writer}.parquet")


def read(path: Path, names: tuple[str, ...] = NAMES) -> dict[str, Values]:
    return {
        clip: {name: table[name].to_numpy() for name in table.schema.names[2:]}
        for clip, table in read_frames(path, names)
    }


def assert_are(found: dict[str, Values], expected: Mapping[str, Values]) -> None:
    assert list(found) == list(expected)
    for clip, values in expected.items():
        for name, column in found[clip].items():
            there = np.where(np.isfinite(values[name]), values[name], np.nan)
            assert np.array_equal(column, there, equal_nan=True), (clip, name)


CLIPS = {"b 'x'.mp4": values_of(1, 30), "a\n\u2028.mp4": values_of(2, 1), "c.mp4": values_of(3, 200)}


def write(folder: RunFolder, clips: Mapping[str, Values] = CLIPS, **more: Any) -> FramesWriter:
    writer = FramesWriter(folder, SLICE, "w", more.get("provenance", PROVENANCE))
    for name, values in clips.items():
        writer.append(name, values, len(values["motion"]))
    return writer


def test_all_values_are_read_back_from_the_journal_and_from_the_parquet_file(folder: RunFolder) -> None:
    """Bit for bit, in the order of the clips; a value that is not finite is NaN."""
    parquet, journal = paths(folder)
    writer = write(folder)
    assert not parquet.exists()
    assert_are(read(journal), CLIPS)
    writer.close()
    assert not journal.exists()
    assert_are(read(parquet), CLIPS)


def test_the_frames_of_a_shard_and_of_its_journal_are_those_of_its_writer(folder: RunFolder) -> None:
    write(folder).close()
    shards = folder.shard_folder(SLICE)
    assert frames_of(folder, shards / "w.parquet") == frames_of(folder, shards / "w.journal") == paths(folder)
    assert paths(folder)[0] == folder.path / "frames" / "slice-00012" / "w.parquet"
    assert folder.frames_table == folder.root / "full_features_r.frames.parquet"


def test_the_columns_are_those_that_the_plan_measures(folder: RunFolder) -> None:
    assert frame_features(PROVENANCE) == FULL.names
    assert frame_features(IDENTITY) == FULL.must_measure
    write(folder, provenance=IDENTITY).close()
    file = pq.ParquetFile(paths(folder)[0])
    assert file.schema_arrow.names == ["clip_name", "frame", *FULL.must_measure]
    assert file.schema_arrow.metadata[METADATA_KEY].decode() == IDENTITY.as_json()
    assert file.read()["frame"].to_pylist() == [*range(30), 0, *range(200)]


def test_a_feature_that_the_files_plan_does_not_measure_is_nan(folder: RunFolder) -> None:
    """So rows of both plans have the same columns, whoever reads them."""
    writer = write(folder, provenance=IDENTITY)
    for close in (lambda: None, writer.close):
        close()
        path = next(path for path in paths(folder) if path.exists())
        found = read(path, ("float_ssim", "motion"))
        assert list(found["c.mp4"]) == ["float_ssim", "motion"]
        assert np.array_equal(found["c.mp4"]["motion"], CLIPS["c.mp4"]["motion"])
        assert np.isnan(found["c.mp4"]["float_ssim"]).all()


def test_a_feature_that_the_engine_has_not_measured_is_nan(folder: RunFolder) -> None:
    values = values_of(1, 5)
    del values["cambi"]
    write(folder, {"a": values}).close()
    assert np.isnan(read(paths(folder)[0])["a"]["cambi"]).all()


def test_only_names_and_numbers_of_frames_have_statistics(folder: RunFolder) -> None:
    write(folder).close()
    columns = pq.read_metadata(paths(folder)[0]).row_group(0).to_dict()["columns"]
    assert [c["path_in_schema"] for c in columns if c["is_stats_set"]] == ["clip_name", "frame"]
    assert {c["compression"] for c in columns} == {"ZSTD"}
    assert all("BYTE_STREAM_SPLIT" in c["encodings"] for c in columns[2:])
    assert [c["path_in_schema"] for c in columns if c["has_dictionary_page"]] == ["clip_name"]


def test_row_groups_have_whole_clips_unless_one_alone_is_too_long(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames_columns, "ROWS_IN_GROUP", 50)
    lengths = {"a": 20, "b": 30, "c": 1, "d": 120, "e": 29, "f": 50}
    clips = {name: values_of(n, frames) for n, (name, frames) in enumerate(lengths.items())}
    write(folder, clips).close()
    parquet = paths(folder)[0]
    metadata = pq.read_metadata(parquet)
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [50, 1, 50, 50, 49, 50]
    assert_are(read(parquet), clips)


def test_of_a_clip_that_is_twice_in_a_journal_the_last_one_counts(folder: RunFolder) -> None:
    writer = write(folder, {"a": values_of(1, 30), "b": values_of(2, 3)})
    writer.append("a", values_of(7, 4), 4)
    expected = {"b": values_of(2, 3), "a": values_of(7, 4)}
    assert_are(read(paths(folder)[1]), expected)
    writer.close()
    assert_are(read(paths(folder)[0]), expected)


def test_a_writer_without_clips_leaves_no_file(folder: RunFolder) -> None:
    write(folder, {}).close()
    assert list(folder.frames.glob("*/*")) == []


def test_a_journal_cut_at_any_byte_has_all_clips_before_the_cut(folder: RunFolder) -> None:
    """As a killed writer leaves it."""
    write(folder)
    journal = paths(folder)[1]
    content = journal.read_bytes()
    ends = [at + 1 for at, byte in enumerate(content) if byte == ord("\n")]
    for size in {*range(0, len(content), 211), *ends, *(end - 1 for end in ends)}:
        journal.write_bytes(content[:size])
        whole = sum(end <= size for end in ends) - 1
        assert list(read(journal)) == list(CLIPS)[: max(0, whole)]


def test_a_parquet_file_with_any_flipped_bit_is_damaged(folder: RunFolder) -> None:
    write(folder).close()
    parquet = paths(folder)[0]
    content = parquet.read_bytes()
    for at in range(0, len(content), 401):
        parquet.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        with pytest.raises(DamagedError):
            read(parquet)


def test_a_full_disk_costs_no_frame(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of a slice: its frames stay in the journal, which is removed last."""
    writer = write(folder)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable.system, "replace", full)
    with pytest.raises(UnavailableError, match="no space left"):
        writer.close()
    parquet, journal = paths(folder)
    assert not parquet.exists()
    assert_are(read(journal), CLIPS)


def test_a_journal_that_cannot_be_read_back_is_kept_and_named(folder: RunFolder) -> None:
    """A disk that gives other bytes than it was given."""
    documented("frames that were just written and cannot be read back")
    writer = write(folder)
    parquet, journal = paths(folder)
    content = journal.read_bytes()
    for damaged in (content.replace(b'"frames":200', b'"frames":201'), b""):
        journal.write_bytes(damaged)
        with pytest.raises(
            UnavailableError, match=r"cannot be read back: .*w\.journal: frames of [02] clips, 3"
        ):
            writer.close()
        assert not parquet.exists()
    journal.write_bytes(content)
    writer.close()
    assert_are(read(parquet), CLIPS)


def test_memory_does_not_grow_with_the_number_of_clips() -> None:
    """Clips of 20,000 frames, 3.5 MB each; by its peak, the process holds no more than a few of them."""
    script = """
import resource, sys, tempfile
from pathlib import Path
import numpy as np
sys.path.insert(0, "tests")
from support.shard_helpers import PROVENANCE
from vmafarm.run_folder.paths import RunFolder
from vmafarm.shards.frames_file import FramesWriter, frame_features
values = {name: np.arange(20_000) / 8 for name in frame_features(PROVENANCE)}
with tempfile.TemporaryDirectory() as folder:
    for clips in (5, 50):
        writer = FramesWriter(RunFolder(Path(folder), "r"), clips, "w", PROVENANCE)
        for number in range(clips):
            writer.append(f"{number}.mp4", values, 20_000)
        writer.close()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    few, many = map(int, done.stdout.split())
    assert many - few < 15 << 10


STATED = {"provenance": PROVENANCE.as_dict()}
PACKED = base64.b64encode(pa.compress(np.zeros((len(NAMES), 2)), codec="zstd", asbytes=True)).decode()
GOOD = {"clip_name": "a", "frames": 2, "values": PACKED}


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([GOOD], "the line with its provenance is damaged"),
        ([STATED, GOOD | {"frames": 3}], "not those of 3 frames"),
        ([STATED, GOOD | {"frames": 1}], "not those of 1 frames"),
        ([STATED, GOOD | {"frames": 0}], "frames"),
        ([STATED, GOOD | {"frames": 2**31 - 1}], "frames"),
        ([STATED, GOOD | {"values": "?"}], "not those of 2 frames"),
        ([STATED, GOOD | {"values": PACKED[:-8]}], "not those of 2 frames"),
        ([STATED, {"clip_name": "a"}], "without its frames"),
        ([STATED, {"row": 1}], "row"),
        ([{"provenance": {"engine": "x"}}, GOOD], "its provenance cannot be read"),
        ([[1, 2]], "object"),
    ],
)
def test_a_journal_with_what_no_writer_writes_is_damaged(
    folder: RunFolder, records: list[Any], why: str
) -> None:
    journal = paths(folder)[1]
    journal.parent.mkdir(parents=True)
    journal.write_bytes(b"".join(map(checked_line, records)))
    with pytest.raises(DamagedError, match=why):
        read(journal)


def other(change: Callable[[pa.Table], pa.Table]) -> pa.Table:
    columns = [["a"] * 3, np.arange(3, dtype=np.int32), *(np.arange(3.0) for _ in NAMES)]
    schema = frames_schema(NAMES).with_metadata({METADATA_KEY: PROVENANCE.as_json().encode()})
    return change(pa.Table.from_arrays([pa.array(c) for c in columns], schema=schema))


def with_column(place: int, values: list[Any], table: pa.Table) -> pa.Table:
    field = table.schema.field(place)
    return table.set_column(place, field, pa.array(values, field.type))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda table: table, ""),
        (partial(with_column, 0, ["a", "b", "a"]), "without a gap"),
        (partial(with_column, 0, ["a", "b", "b"]), "without a gap"),
        (partial(with_column, 1, [0, 1, 3]), "without a gap"),
        (partial(with_column, 1, [1, 2, 3]), "without a gap"),
        (partial(with_column, 1, [0, 0, 1]), "twice"),
        (partial(with_column, 5, [0, math.inf, 0]), "infinite"),
        (lambda table: table.drop_columns(["motion"]), "columns"),
        (lambda table: table.replace_schema_metadata({}), "does not state its provenance"),
        (lambda table: table.replace_schema_metadata({METADATA_KEY: b"[1]"}), "provenance"),
    ],
)
def test_a_sealed_file_with_what_no_writer_writes_is_damaged(
    folder: RunFolder, change: Callable[[pa.Table], pa.Table], why: str
) -> None:
    parquet = paths(folder)[0]
    parquet.parent.mkdir(parents=True)
    table = other(change)
    with parquet.open("wb") as file:
        write_frames(table.schema, [("", table)], file)
    if not why:
        assert list(read(parquet)) == ["a"]
        return
    with pytest.raises(DamagedError, match=why):
        read(parquet)


def test_a_fifo_in_place_of_a_file_is_not_waited_for(folder: RunFolder) -> None:
    for path in paths(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path)
        with pytest.raises(OSError, match="FIFO"):
            read(path)
