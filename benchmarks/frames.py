"""Frames that are kept: what they take of an element and on disk, their merge, and one clip of many."""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.footage import make_corpus, plan_run, run_element
from benchmarks.measure import ROOT, Figure, Usage, ratio, run_measured, say, side_by_side
from benchmarks.synthetic import CORPUS_CLIPS, CORPUS_SLICES, make_run
from vmafarm.config.load import load
from vmafarm.disk.sealed_parquet import write_sealed
from vmafarm.run_folder.provenance import METADATA_KEY, read_provenance
from vmafarm.shards.frames_columns import frames_schema, frames_table, write_frames
from vmafarm.shards.frames_file import frame_features

CLIPS = 8
FRAMES = 150
REPETITIONS = 5
QUERIES = 20

_MERGE = """
import sys
from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.merging.merge import merge
config = with_frozen(load(None, sys.argv[1:])[0])
assert merge(config.folder, config).published
"""
_ASK = """
import sys, time
from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.query.database import open_run
config = with_frozen(load(None, sys.argv[2:])[0])
taken = []
with open_run(config, lambda _: None, tables=["frames"]) as connection:
    for number in range(int(sys.argv[1])):
        began = time.perf_counter()
        name = f"orig_{number * 7919 % 100_000:08d}_540_5s.mp4"
        found = connection.execute("SELECT * FROM frames WHERE clip_name = $1", [name]).fetchall()
        taken.append(time.perf_counter() - began)
        assert len(found) == 150
print(*taken)
"""


def measure(folder: Path) -> list[Figure]:
    """Real clips with and without frames, then synthetic frames of the whole corpus."""
    return [*_score(folder / "real"), *_merge(folder / "corpus")]


def _score(folder: Path) -> list[Figure]:
    folder.mkdir()
    make_corpus(folder, CLIPS, FRAMES)
    sizes: list[int] = []
    packed: list[tuple[int, int]] = []

    def run(frames: bool) -> Usage:
        settings = plan_run(
            folder, "r",
            ["engine.kind=ffmpeg", "engine.plan=identity", "engine.audit_every=0", "extract.workers=1",
             f"engine.frames={str(frames).lower()}"],
        )  # fmt: skip
        usage = run_element(settings)
        for path in folder.glob("runs/r/frames/*/*.parquet"):
            sizes.append(path.stat().st_size)
            packed.append((_pack(folder, path, "BYTE_STREAM_SPLIT"), _pack(folder, path, "PLAIN")))
        shutil.rmtree(folder / "runs")
        return usage

    found = side_by_side({name: partial(run, name == "with") for name in ("with", "without")}, REPETITIONS)
    cpu = {name: [usage.cpu for usage in usages] for name, usages in found.items()}
    note = f"{CLIPS} clips of 960x540, {FRAMES} frames, plan identity, embedded engine, start-up included"
    per_clip = statistics.median(sizes) / CLIPS
    split, plain = packed[0]
    return [
        Figure("frames", "CPU with frames / without", ratio(cpu["with"], cpu["without"]), "x", "<= 1.03",
               cpu, note),
        Figure("frames", f"frames of a clip of {FRAMES} frames, 14 features", per_clip / 1e3, "kB",
               note="Parquet of its writer"),
        Figure("frames", f"frames of {CORPUS_CLIPS:,} such clips", per_clip * CORPUS_CLIPS / 1e9, "GB"),
        Figure("frames", "byte-stream split / plain, zstd, six decimals", split / plain, "x", note="bytes"),
    ]  # fmt: skip


def _pack(folder: Path, path: Path, encoding: str) -> int:
    """Bytes of a file of frames with its values in this encoding."""
    table, target = pq.read_table(path), folder / "packed.parquet"
    values = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    pq.write_table(
        table, target, compression="zstd", use_dictionary=["clip_name"],
        column_encoding=dict.fromkeys(values, encoding), write_statistics=False,
    )  # fmt: skip
    return target.stat().st_size


def _merge(folder: Path) -> list[Figure]:
    settings = make_frames(folder, CORPUS_CLIPS, CORPUS_SLICES)
    say(f"  made the frames of {CORPUS_CLIPS:,} clips")
    environment = {"PYTHONPATH": str(ROOT / "jobs")}
    merged = run_measured([sys.executable, "-c", _MERGE, *settings], environment=environment)
    size = next(folder.glob("runs/*.frames.parquet")).stat().st_size
    asked = folder / "asked"
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.stdout = open({str(asked)!r}, 'w')\n{_ASK}",
        str(QUERIES),
    ]
    run_measured([*command, *settings], environment=environment)
    taken = [float(word) for word in asked.read_text().split()]
    shutil.rmtree(folder)
    what = f"{CORPUS_CLIPS:,} clips x {FRAMES} frames x 14 features"
    return [
        Figure("frames", f"merge, {what}", merged.wall, "s", note="with the table and its checks"),
        Figure("frames", f"peak memory of the merge, {what}", merged.peak, "MB", "<= 2000",
               note="resident, whole process"),
        Figure("frames", f"table of frames, {what}", size / 1e9, "GB", note="random walks of six decimals"),
        Figure("frames", f"frames of one clip of {CORPUS_CLIPS:,}", statistics.median(taken), "s", "<= 0.2",
               {"seconds": taken}, f"median of {QUERIES} clips, the first {taken[0]:.3f} s"),
    ]  # fmt: skip


def make_frames(folder: Path, clips: int, slices: int) -> list[str]:
    """Write a synthetic run whose rows are pools of frames that lie beside them; returns its settings."""
    settings = make_run(folder, clips, slices, ["engine.frames=true"])
    run = load(None, settings)[0].folder
    provenance = read_provenance(run.provenance)
    assert provenance is not None
    names, draw = frame_features(provenance), np.random.default_rng(2)
    schema = frames_schema(names).with_metadata({METADATA_KEY: provenance.as_json().encode()})
    for shard in sorted(run.shards.glob("*/*.parquet")):
        rows = pq.read_table(shard)
        steps = draw.normal(0, 0.5, (rows.num_rows, len(names), FRAMES))
        values = np.round(np.abs(50 + np.cumsum(steps, axis=2)), 6)
        pools = {"mean": values.mean(axis=2), "std": values.std(axis=2)}
        for at, name in enumerate(names):
            for pool, found in pools.items():
                place = rows.schema.get_field_index(f"{name}_{pool}")
                rows = rows.set_column(place, rows.schema.field(place), pa.array(found[:, at]))
        with shard.open("wb") as file:
            write_sealed(rows, file)
        target = run.frames / shard.parent.name / shard.name
        target.parent.mkdir(parents=True)
        with target.open("wb") as file:
            write_frames(schema, _clips(rows["clip_name"].to_pylist(), values, schema), file)
    return settings


def _clips(names: list[str], values: np.ndarray, schema: pa.Schema) -> Iterator[tuple[str, pa.Table]]:
    for name, one in zip(names, values, strict=True):
        yield name, frames_table(name, list(one), FRAMES, schema)
