"""A writer of shards that makes up its rows, and what it has left on disk."""

from __future__ import annotations

import json
import math
import os
from datetime import UTC, datetime

import pyarrow.parquet as pq

from vmafarm.disk.jsonl import read_lines
from vmafarm.run_folder.provenance import Provenance
from vmafarm.schema.features import COLUMNS
from vmafarm.shards.journal import read_journal
from vmafarm.shards.writer import ShardWriter

PROVENANCE = Provenance("ffmpeg", "9.0", "3.1", "9.0", "full", "cpu", ("ssimulacra2",), "sha256:00")
SLICE = 12


def make_row(name, i=0):
    row = {column: i + k / 7 for k, column in enumerate(COLUMNS)}
    row |= {"clip_name": name, "mos": 1 + i / 10, "width": 960 + i, "height": 540}
    return row | {"ciede2000_mean": math.nan, "ciede2000_std": math.nan}


def make_entry(name, i=0):
    return {
        "clip_name": name, "frames": 120 + i, "fps": 29.97, "pixel_format": "yuv420p", "bit_depth": 8,
        "seconds_decoding": 0.1, "seconds_scoring": 1 / 3, "audit": "equal", "seconds_other_plan": 7.5,
        "audit_feature": "vif_scale1", "audit_difference": 1e-7,
        "declared_frames": 25, "declared_seconds": 1.5, "short": True, "repeatable": False,
        "backend": "cuda", "finite_frames": 120 + i, "zero_motion": 3,
        "attempts": 1, "notes": "a 'note'",
        "host": "node1", "engine": "ffmpeg", "writer": "w", "slice": SLICE,
        "finished_at": datetime(2026, 1, 2, 3, 4, 5, 678901 + i, tzinfo=UTC),
        "bytes": 2**40 + i, "sha256": "0f" * 32,
    }  # fmt: skip


class Writer(ShardWriter):
    """A writer that makes up its rows."""

    def __init__(self, folder, writer="w", flush_every=100):
        super().__init__(folder, SLICE, writer, PROVENANCE, flush_every)

    def add(self, *names):
        for name in names:
            i = int(name[1:]) if name[1:].isdigit() else 0
            self.append(make_row(name, i), make_entry(name, i))


def files(folder):
    return sorted(os.listdir(folder.shard_folder(SLICE)))


def path_of(folder, suffix, writer="w"):
    return folder.shard_folder(SLICE) / f"{writer}.{suffix}"


def rows_in(path):
    return {row["clip_name"]: row for row in pq.ParquetFile(path).read().to_pylist()}


def union(folder):
    """All rows that stand on disk."""
    rows = {}
    for path in folder.shard_folder(SLICE).glob("*.parquet"):
        rows |= rows_in(path)
    for path in folder.shard_folder(SLICE).glob("*.journal"):
        rows |= {row["clip_name"]: row for row, _ in read_journal(path).rows}
    return rows


def same(one, other):
    """Equal with NaN equal to NaN."""
    return one.keys() == other.keys() and all(repr(one[column]) == repr(other[column]) for column in one)


def done_names(folder, writer="w"):
    path = path_of(folder, "done", writer)
    return [json.loads(line) for line in read_lines(path)] if path.exists() else []


def names(count):
    return [f"c{i}" for i in range(count)]
