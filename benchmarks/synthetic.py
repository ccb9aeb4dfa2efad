"""Runs whose clips all have rows, with the files that their elements would have left; no clip is scored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from vmafarm.config.load import load
from vmafarm.config.toml import to_toml
from vmafarm.corpus.frozen_config import DIGEST, config_to_freeze
from vmafarm.disk.durable import replace_text
from vmafarm.disk.sealed_parquet import write_sealed
from vmafarm.run_folder.manifest import write_manifest
from vmafarm.run_folder.planned_clips import Manifest, manifest_digest
from vmafarm.run_folder.provenance import METADATA_KEY, Provenance
from vmafarm.schema.features import ARROW_SCHEMA, FEATURES
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA, DEFAULTS, write_clip_log

CORPUS_CLIPS = 152_265
CORPUS_SLICES = 1_523
_HOSTS = 20


def make_run(folder: Path, clips: int, slices: int, more: Sequence[str] = ()) -> list[str]:
    """Write the run and all its shards; returns its settings.

    Parameters
    ----------
    folder
        New or empty.
    clips, slices
        How many.
    more
        Further settings.
    """
    settings = [
        f"run.root={folder / 'runs'}", "run.name=synthetic", f"corpus.clips={folder / 'clips'}",
        f"corpus.scores={folder / 'scores.csv'}", "engine.plan=identity", "engine.kind=ffmpeg", *more,
    ]  # fmt: skip
    config, _ = load(None, settings)
    run = config.folder
    run.path.mkdir(parents=True)
    draw = np.random.default_rng(1)
    names = [f"orig_{number:08d}_540_5s.mp4" for number in range(clips)]
    mos = np.round(draw.uniform(1, 5, clips), 4)
    sizes = draw.lognormal(14, 0.6, clips).astype(np.int64)
    cut = (np.arange(clips) % slices).astype(np.int32)
    digest = manifest_digest(names, mos, sizes)
    replace_text(run.config, to_toml(config_to_freeze(config) | {DIGEST: digest}))
    write_manifest(run, Manifest(names, mos, sizes, cut, digest))
    constant = tuple(feature.name for feature in FEATURES if feature.identity is not None)
    provenance = Provenance("ffmpeg", "9", "3", "9", "identity", "cpu", constant, digest)
    replace_text(run.provenance, provenance.as_json() + "\n")
    metadata = {METADATA_KEY: provenance.as_json().encode()}
    listed = np.asarray(names)
    run.clip_logs.mkdir()
    for number in range(slices):
        mine = np.arange(number, clips, slices)
        writer = f"job-{number}"
        rows = _rows(listed[mine], mos[mine], draw, metadata)
        shards = run.shard_folder(number)
        shards.mkdir(parents=True)
        with (shards / f"{writer}.parquet").open("wb") as file:
            write_sealed(rows, file)
        with run.clip_log(number, writer).open("wb") as file:
            write_clip_log(_entries(listed[mine], number, writer), file)
        (shards / f"{writer}.done").write_text("".join(f'"{name}"\n' for name in listed[mine]))
    return settings


def _rows(
    names: np.ndarray, mos: np.ndarray, draw: np.random.Generator, metadata: dict[bytes, bytes]
) -> pa.Table:
    count = len(names)
    columns: list[object] = [names, mos, np.full(count, 960, np.int32), np.full(count, 540, np.int32)]
    for feature in FEATURES:
        if feature.identity is None:
            columns += [draw.uniform(0, 100, count), draw.uniform(0, 1, count)]
        else:
            value = feature.identity[8]
            columns += [np.full(count, value), np.full(count, value * 0)]
    schema = ARROW_SCHEMA.with_metadata(metadata)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _entries(names: np.ndarray, number: int, writer: str) -> pa.Table:
    began = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=number)
    values = {
        **DEFAULTS,
        "frames": 150, "fps": 30.0, "pixel_format": "yuv420p", "bit_depth": 8, "seconds_decoding": 0.2,
        "seconds_scoring": 4.0, "attempts": 1, "notes": "", "host": f"node{number % _HOSTS}",
        "engine": "ffmpeg", "writer": writer, "slice": number, "finished_at": began,
        "declared_frames": 150, "declared_seconds": 5.0, "short": False, "repeatable": True,
        "backend": "cpu", "finite_frames": 150, "zero_motion": 0,
        "bytes": 200_000, "sha256": "0f" * 32,
    }  # fmt: skip
    arrays = [
        pa.array(names if field.name == "clip_name" else [values[field.name]] * len(names), field.type)
        for field in CLIP_LOG_SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=CLIP_LOG_SCHEMA)
