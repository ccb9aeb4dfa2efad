"""Some row groups of a sealed file are read and verified alone."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vmafarm.disk import sealed_blocks
from vmafarm.disk.sealed_blocks import NoBlocksError, open_blocks, write_in_blocks
from vmafarm.disk.sealed_parquet import DIGITS, DamagedError, open_sealed, write_sealed

TABLE = pa.table(
    {
        "name": [f"clip {at}" for at in range(500)],
        "slice": pa.array([at // 50 for at in range(500)], pa.int32()),
    }
).replace_schema_metadata({b"vmafarm": b"{}"})
BLOCKS = [TABLE.slice(at, 100) for at in range(0, 500, 100)]
"""Five row groups, of two slices each."""


def content_of(blocks: list[pa.Table]) -> bytes:
    sink = io.BytesIO()
    write_in_blocks(blocks, sink)
    return sink.getvalue()


def read(path: Path, number: int) -> pa.Table:
    with open_blocks(path, 2000) as file:
        return file.read("slice", lambda lowest, highest: lowest <= number <= highest)


def test_the_row_groups_that_may_have_a_value_are_read_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(content_of(BLOCKS))
    assert read(path, 4).equals(TABLE.slice(200, 100))
    assert read(path, 9).equals(TABLE.slice(400, 100))
    assert read(path, 10).num_rows == 0
    with open_blocks(path, 1000) as file:
        assert file.read("slice", lambda lowest, _: lowest in (0, 8)).equals(
            pa.concat_tables([TABLE.slice(0, 100), TABLE.slice(400, 100)])
        )
        assert (file.rows, file.schema.metadata) == (500, {b"vmafarm": b"{}"})


def test_other_readers_see_one_sealed_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(content_of(BLOCKS))
    assert open_sealed(path).read().equals(TABLE)
    assert pq.ParquetFile(path).metadata.num_row_groups == 5


def test_no_flipped_bit_gives_other_rows(tmp_path: Path) -> None:
    """Each bit of the footer is noticed, and each of the row group that is read."""
    content, path = content_of(BLOCKS), tmp_path / "x"
    metadata = pq.read_metadata(pa.BufferReader(content))
    begin, end = sealed_blocks._extent(metadata.row_group(2))
    footer = sealed_blocks._footer_begin(content, len(content))
    chance, noticed, unseen = random.Random(1), 0, 0
    places = [*range(footer, len(content)), *chance.sample(range(footer), 600)]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        try:
            found = read(path, 4)
        except DamagedError:
            noticed += 1
        else:
            unseen += 1
            assert found.equals(TABLE.slice(200, 100))
            is_seal = content.rfind(b"vmafarm.sha256") < place < content.rfind(b"vmafarm.sha256") + 80
            assert is_seal or not (begin <= place < end or place >= footer), place
    assert noticed > 600
    assert unseen > 200


@pytest.mark.parametrize("end", [0, 3, 4, 8, 12, 300, -1, -8, -300])
def test_a_cut_file_is_damaged(tmp_path: Path, end: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(content_of(BLOCKS)[:end])
    with pytest.raises(DamagedError):
        read(path, 4)


def test_a_file_of_another_kind_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        write_sealed(TABLE, file)
    with pytest.raises(NoBlocksError, match="does not state the digests of its row groups"):
        read(path, 4)


def test_a_footer_that_points_out_of_the_file_is_damaged(tmp_path: Path) -> None:
    content, path = bytearray(content_of(BLOCKS)), tmp_path / "x"
    content[-8:-4] = (1 << 31).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(DamagedError, match="longer than the file"):
        read(path, 4)


def test_too_many_rows_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(content_of(BLOCKS))
    with pytest.raises(DamagedError, match="500 rows, expected at most 499"), open_blocks(path, 499):
        pass


def test_row_groups_are_counted_each(tmp_path: Path) -> None:
    """A seal involves no secret: the number of rows that a file states may be another than it has."""
    path, content = tmp_path / "x", content_of(BLOCKS)
    stated = b"\x16\xe8\x07"  # field 3 of the footer, 500 (Thrift: i64, zigzag varint)
    assert content.count(stated) == 1
    changed = bytearray(content.replace(stated, b"\x16\x8a\x00"))  # 5
    begin = sealed_blocks._footer_begin(changed, len(changed))
    at = sealed_blocks._find_blocks(changed, 6 * DIGITS)
    changed[at : at + DIGITS] = sealed_blocks._digest(sealed_blocks._blanked(changed[begin:], at - begin))
    path.write_bytes(changed)
    with pytest.raises(DamagedError, match="500 rows, expected at most 499"), open_blocks(path, 499):
        pass


def test_a_text_that_exceeds_all_memory_is_not_expanded(tmp_path: Path) -> None:
    """A long text that each row has takes little space in a file."""
    path = tmp_path / "x"
    rows = 2000
    table = pa.table({"name": ["n" * 100_000] * rows, "slice": pa.array([0] * rows, pa.int32())})
    path.write_bytes(content_of([table]))
    assert path.stat().st_size < 10_000
    with pytest.raises(DamagedError, match="200,000,000 bytes in 2,000 rows, expected at most"):
        read(path, 0)


def test_a_row_group_without_bounds_is_read(tmp_path: Path) -> None:
    """Nothing but nulls has no lowest value."""
    path = tmp_path / "x"
    table = pa.table({"name": ["a", "b"], "slice": pa.array([None, None], pa.int32())})
    path.write_bytes(content_of([table]))
    assert read(path, 4).equals(table)


def test_a_large_table_is_cut_into_several_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed_blocks, "MOST_IN_BLOCK", 70)
    path = tmp_path / "x"
    path.write_bytes(content_of([TABLE]))
    assert pq.ParquetFile(path).metadata.num_row_groups == 8
    assert read(path, 9).equals(TABLE.slice(420))
