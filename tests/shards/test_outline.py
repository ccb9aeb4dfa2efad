"""Which sealed files are recognised by the bytes of their footers, and which must be parsed."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.merge_helpers import NOW, log_entry, make_row

from vmafarm.disk.sealed_parquet import write_sealed
from vmafarm.schema.features import ARROW_SCHEMA
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA
from vmafarm.shards.outline import Outline

METADATA = {b"vmafarm": b'{"engine":"ffmpeg"}'}
SCHEMA = ARROW_SCHEMA.with_metadata(METADATA)


def sealed(table: pa.Table, **options) -> bytes:
    file = io.BytesIO()
    write_sealed(table, file, **options)
    return file.getvalue()


def rows(count: int, schema: pa.Schema = SCHEMA) -> pa.Table:
    return pa.Table.from_pylist([make_row(f"{i}.mp4") for i in range(count)], schema=schema)


def replaced(field: pa.Field) -> pa.Schema:
    return SCHEMA.set(SCHEMA.get_field_index(field.name), field)


@pytest.mark.parametrize("count", [0, 1, 64, 100, 1000])
@pytest.mark.parametrize("options", [{}, {"compression": "none"}, {"use_dictionary": False}])
def test_a_shard_matches_whatever_its_rows(count, options):
    assert Outline(SCHEMA).rows(sealed(rows(count), **options)) == count


def test_a_clip_log_matches_too():
    log = pa.Table.from_pylist([log_entry("a.mp4", 1.0, "w", 0, NOW)], schema=CLIP_LOG_SCHEMA)
    assert Outline(CLIP_LOG_SCHEMA).rows(sealed(log)) == 1


@pytest.mark.parametrize(
    "schema",
    [
        SCHEMA.with_metadata(None),
        SCHEMA.with_metadata({b"vmafarm": b'{"engine":"vmaf"}'}),
        SCHEMA.with_metadata({**METADATA, b"more": b"1"}),
        replaced(pa.field("mos", pa.float64(), nullable=True)),
        replaced(pa.field("mos", pa.float32(), nullable=False)),
        replaced(pa.field("clip_name", pa.large_string(), nullable=False)),
        pa.schema(list(SCHEMA)[:-1], METADATA),
        pa.schema([SCHEMA.field(1), SCHEMA.field(0), *list(SCHEMA)[2:]], METADATA),
    ],
)
def test_a_file_with_other_columns_or_metadata_does_not_match(schema):
    assert Outline(SCHEMA).rows(sealed(rows(3, schema))) is None
    assert Outline(schema).rows(sealed(rows(3, schema))) == 3


def test_an_unsealed_or_truncated_file_does_not_match():
    plain = io.BytesIO()
    pq.write_table(rows(3), plain)
    content = sealed(rows(3))
    outline = Outline(SCHEMA)
    for other in (
        plain.getvalue(),
        b"",
        b"PAR1",
        content[:-1],
        content[-8:],
        content[len(content) // 2 : -9],
    ):
        assert outline.rows(other) is None
