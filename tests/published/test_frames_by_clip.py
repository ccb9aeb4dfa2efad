"""One clip's frames are found by the names in a few row groups, and nothing else of the table is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.frames_tables import ROWS, write_frames

from vmafarm.disk.sealed_parquet import DamagedError
from vmafarm.published.frames_by_clip import OtherTableError, opened_frames
from vmafarm.run_folder.provenance import Provenance
from vmafarm.schema.features import KNOWN
from vmafarm.shards.frames_columns import frames_schema, frames_table
from vmafarm.shards.frames_columns import write_frames as write_frames_file

PROVENANCE = Provenance("ffmpeg", "9", "3", "9", "identity", "cpu", KNOWN, "sha256:0")
CLIPS = {
    f"{letter}.mp4": {"motion": 100.0 * at + np.arange(40 + at), "vmaf": np.full(40 + at, np.nan)}
    for at, letter in enumerate("abcdefgh")
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_frames(tmp_path / "t.frames.parquet", CLIPS, PROVENANCE)


def rewrite(path: Path, change: dict[str, pa.Array], **options: object) -> None:
    """Write the table again with other columns, or other options of pyarrow."""
    table = pq.ParquetFile(path).read()
    for name, column in change.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(table, path, **options)


def test_each_clip_has_its_own_frames_in_order(path: Path) -> None:
    with opened_frames(path) as table:
        assert table.head.features == ("motion", "vmaf")
        assert table.head.rows == sum(len(one["motion"]) for one in CLIPS.values())
        assert table.clips() == list(CLIPS)
        for name, values in CLIPS.items():
            found = table.read_clip(name, ["vmaf", "motion"])
            assert list(found) == ["vmaf", "motion"]
            np.testing.assert_array_equal(found["motion"], values["motion"])
            np.testing.assert_array_equal(found["vmaf"], values["vmaf"])
        for name in ("", "a", "a.mp4 ", "cc.mp4", "z.mp4"):
            assert table.read_clip(name, ["motion"]) == {}


def test_damage_elsewhere_does_not_matter_and_damage_of_the_clip_is_found(path: Path) -> None:
    footer = pq.read_metadata(path)
    assert footer.num_row_groups == 4
    content = bytearray(path.read_bytes())
    content[footer.row_group(1).column(2).data_page_offset + 60] ^= 4
    content[footer.row_group(3).column(0).dictionary_page_offset + 30] ^= 4  # a name
    path.write_bytes(content)
    with opened_frames(path) as table:
        assert len(table.read_clip("a.mp4", ["motion"])["motion"]) == 40
        assert len(table.read_clip("c.mp4", ["vmaf"])["vmaf"]) == 42
        with pytest.raises(DamagedError, match="cut or damaged"):
            table.read_clip("c.mp4", ["motion"])
        with pytest.raises(DamagedError, match="cut or damaged"):
            table.read_clip("h.mp4", ["vmaf"])


@pytest.mark.full
def test_each_changed_bit_of_a_clips_values_is_found_in_what_a_merge_writes(path: Path) -> None:
    schema = frames_schema(["motion"]).with_metadata(pq.read_schema(path).metadata)
    values = np.random.default_rng(1).random(200)
    with path.open("wb") as file:
        write_frames_file(schema, [("a.mp4", frames_table("a.mp4", [values], 200, schema))], file)
    column = pq.read_metadata(path).row_group(0).column(2)
    whole = path.read_bytes()
    begin, size = column.data_page_offset, column.total_compressed_size
    unseen = []
    for at in range(begin, begin + size):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 8]) + whole[at + 1 :])
        try:
            with opened_frames(path) as table:
                found = table.read_clip("a.mp4", ["motion"])["motion"]
        except DamagedError:
            continue
        if not np.array_equal(found, values):
            unseen.append(at)
    assert size > 1_000
    assert not unseen


@pytest.mark.parametrize("statistics", [True, False])
def test_a_clip_may_span_row_groups_with_or_without_statistics(path: Path, statistics: bool) -> None:
    rewrite(path, {}, row_group_size=7, write_statistics=statistics)
    with opened_frames(path) as table:
        for name, values in CLIPS.items():
            np.testing.assert_array_equal(table.read_clip(name, ["motion"])["motion"], values["motion"])


def test_frames_that_are_not_numbered_from_0_are_damage(path: Path) -> None:
    frames = pq.ParquetFile(path).read()["frame"].to_pylist()
    frames[3] = 4
    rewrite(path, {"frame": pa.array(frames, pa.int32())})
    with opened_frames(path) as table:
        assert len(table.read_clip("b.mp4", ["motion"])["motion"]) == 41
        with pytest.raises(DamagedError, match=r"the frames of a\.mp4 are not numbered from 0 to 39"):
            table.read_clip("a.mp4", ["motion"])


@pytest.mark.full
def test_a_footer_with_any_changed_byte_gives_the_same_frames_or_is_damage(path: Path) -> None:
    whole = path.read_bytes()
    begin = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for at in range(begin, len(whole), 2):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 7)]) + whole[at + 1 :])
        try:
            with opened_frames(path) as table:
                found = table.read_clip("c.mp4", ["motion"])
        except DamagedError:
            continue
        np.testing.assert_array_equal(found["motion"], CLIPS["c.mp4"]["motion"])


@pytest.mark.parametrize("name", ["clip_name", "frame", "motion"])
def test_a_null_is_damage(path: Path, name: str) -> None:
    table = pq.ParquetFile(path).read()
    values = table[name].to_pylist()
    values[ROWS + 9] = None
    rewrite(path, {name: pa.array(values, table.schema.field(name).type)}, row_group_size=ROWS)
    with opened_frames(path) as found, pytest.raises(DamagedError, match=f"{name} has nulls"):
        found.read_clip("b.mp4", ["motion"])


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        (["frame", "clip_name", "motion"], [pa.int32(), pa.string(), pa.float64()]),
        (["clip_name", "frame", "motion"], [pa.string(), pa.int64(), pa.float64()]),
        (["clip_name", "frame", "motion"], [pa.string(), pa.int32(), pa.float32()]),
        (["clip_name", "frame", "motion"], [pa.string(), pa.int32(), pa.list_(pa.float64())]),
        (["clip_name", "frame"], [pa.string(), pa.int32()]),
        ([], []),
    ],
)
def test_other_columns_are_no_frames_table(path: Path, names: list[str], kinds: list[pa.DataType]) -> None:
    stated = pq.read_schema(path).metadata
    columns = [pa.array([], kind) for kind in kinds]
    pq.write_table(pa.table(columns, schema=pa.schema(zip(names, kinds, strict=True), stated)), path)
    with (
        pytest.raises(DamagedError, match="no frames table: its columns are not clip_name"),
        opened_frames(path),
    ):
        pass


@pytest.mark.parametrize("names", [["motoin", "vmaf"], ["vmaf", "motion"], ["motion", "motion"]])
def test_columns_that_are_not_of_its_set_are_no_frames_table(path: Path, names: list[str]) -> None:
    table = pq.ParquetFile(path).read()
    renamed = table.rename_columns(["clip_name", "frame", *names])
    pq.write_table(renamed.replace_schema_metadata(table.schema.metadata), path)
    with (
        pytest.raises(DamagedError, match="not the features of its set, in their order"),
        opened_frames(path),
    ):
        pass


def test_a_name_that_is_not_utf8_is_damage(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"a.mp4", b"\xff.mp4"))
    with opened_frames(path) as table:
        for read in (table.clips, lambda: table.read_clip("b.mp4", ["motion"])):
            with pytest.raises(DamagedError):
                read()


def test_it_belongs_to_the_table_that_it_was_published_with(tmp_path: Path) -> None:
    (beside := tmp_path / "t.parquet").write_bytes(b"rows")
    with opened_frames(write_frames(tmp_path / "f.parquet", CLIPS, PROVENANCE, beside)) as table:
        table.head.require_of(beside)
        beside.write_bytes(b"other rows")
        with pytest.raises(OtherTableError, match=r"published with another table than t\.parquet"):
            table.head.require_of(beside)
