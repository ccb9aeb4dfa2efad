"""Runs on disk for tests of the merge: manifest, shards, journals, clip logs and failures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vmafarm.config.sections import Config, CorpusSection, ExtractSection, RunSection, frozen
from vmafarm.config.toml import to_toml
from vmafarm.disk.jsonl import checked_line, json_line
from vmafarm.disk.sealed_parquet import write_sealed
from vmafarm.run_folder.failures import FailureRecord
from vmafarm.run_folder.manifest import write_manifest
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.planned_clips import Manifest, manifest_digest
from vmafarm.run_folder.provenance import METADATA_KEY, Provenance
from vmafarm.schema.extractors import accepts
from vmafarm.schema.features import ARROW_SCHEMA, FEATURES, KNOWN, identity_value
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA, write_clip_log

NAN = math.nan
NOW = datetime(2025, 3, 1, tzinfo=UTC)


def make_row(clip: str, mos: float = 3.0, width: int = 960, height: int = 540, **values) -> dict:
    """A plausible row; measured values depend on the name alone."""
    generator = np.random.default_rng(list(clip.encode()))
    row = {"clip_name": clip, "mos": mos, "width": width, "height": height}
    for feature in FEATURES:
        if feature.identity is None:
            mean, std = generator.uniform(1, 2), generator.uniform(0, 0.1)
            if feature.extractor is not None and not accepts(feature.extractor, width, height):
                mean = std = NAN
        else:
            mean = identity_value(feature.name, 8, width, height)
            std = NAN if math.isnan(mean) else 0.0
        row |= {f"{feature.name}_mean": float(mean), f"{feature.name}_std": float(std)}
    unknown = values.keys() - row.keys()
    assert not unknown, unknown
    return row | values


def log_entry(clip: str, wall: float, writer: str, slice_id: int, at: datetime) -> dict:
    """A clip log's entry of a clip that took so many seconds."""
    return {
        "clip_name": clip, "frames": 120, "fps": 25.0, "pixel_format": "yuv420p", "bit_depth": 8,
        "seconds_decoding": 0.25 * wall, "seconds_scoring": 0.75 * wall,
        "audit": "", "seconds_other_plan": NAN, "audit_feature": "", "audit_difference": NAN,
        "declared_frames": 0, "declared_seconds": NAN,
        "short": False, "repeatable": True, "backend": "cpu", "finite_frames": 120, "zero_motion": 0,
        "attempts": 1, "notes": "", "host": "h1", "engine": "ffmpeg", "writer": writer, "slice": slice_id,
        "finished_at": at,
        "bytes": 1000, "sha256": "",
    }  # fmt: skip


@dataclass
class Run:
    """A planned run to put rows into."""

    folder: RunFolder
    config: Config
    provenance: Provenance

    def shard(self, rows: Iterable[dict], slice_id: int = 0, writer: str = "w", **options) -> Path:
        """Write a shard as writers do, or with another schema, metadata or options of pyarrow."""
        path = self.folder.shard_folder(slice_id) / f"{writer}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        provenance = options.pop("provenance", self.provenance)
        schema = options.pop("schema", ARROW_SCHEMA)
        metadata = {METADATA_KEY: provenance.as_json().encode()} if provenance else {}
        table = pa.Table.from_pylist(list(rows), schema=schema.with_metadata(metadata))
        with path.open("wb") as file:
            write_sealed(table, file, **options)
        return path

    def journal(
        self, rows: Iterable[dict], slice_id: int = 0, writer: str = "w", torn: bytes = b"",
        without: Iterable[str] = (),
    ) -> Path:  # fmt: skip
        """Write a journal as writers do, with a torn end, or without what earlier versions did not log."""
        path = self.folder.shard_folder(slice_id) / f"{writer}.journal"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [checked_line({"provenance": self.provenance.as_dict()})]
        for row in rows:
            values = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
            entry = log_entry(row["clip_name"], 1.0, writer, slice_id, NOW)
            entry |= {k: None for k, v in entry.items() if v != v} | {"finished_at": NOW.isoformat()}
            lines.append(
                checked_line({"row": values, "log": {k: entry[k] for k in entry.keys() - set(without)}})
            )
        path.write_bytes(b"".join(lines) + torn)
        return path

    def clip_log(self, clips: Iterable[str], minutes: float, slice_id: int = 0, writer: str = "w", host="h1"):
        """The clip log of a writer that finished all of its clips at once."""
        at = NOW + timedelta(minutes=minutes)
        return self.log_clips(dict.fromkeys(clips, 1.0), slice_id, writer, host=host, finished_at=at)

    def log_clips(self, seconds: dict[str, float], slice_id: int = 0, writer: str = "w", **columns) -> Path:
        """The whole clip log of a writer that did one clip after the other, each in so many seconds."""
        path = self.folder.clip_log(slice_id, writer)
        path.parent.mkdir(parents=True, exist_ok=True)
        at, entries = NOW, []
        for clip, wall in seconds.items():
            at += timedelta(seconds=wall)
            entries.append(log_entry(clip, wall, writer, slice_id, at) | columns)
        with path.open("wb") as file:
            write_clip_log(pa.Table.from_pylist(entries, schema=CLIP_LOG_SCHEMA), file)
        return path

    def freeze(self) -> None:
        """Write the frozen configuration, so that verbs know the run by its name."""
        plan = {"plan.limit": 0, "plan.manifest": self.provenance.manifest}
        self.folder.config.write_text(to_toml(frozen(self.config) | plan))

    def fail(self, clip: str, failure: str = "decode_error", tries: int = 2, host: str = "h1") -> None:
        self.folder.failures.mkdir(parents=True, exist_ok=True)
        with open(self.folder.failures / f"{host}.jsonl", "ab") as file:
            for attempt in range(1, tries + 1):
                record = FailureRecord(
                    clip, failure, f"cannot take {clip}", [], attempt, 0, host, host, NOW.isoformat()
                )
                file.write(json_line(record.as_dict()))

    def take_part(self, host: str) -> None:
        """The record of an element that worked on this host."""
        self.folder.elements.mkdir(exist_ok=True)
        record = {
            "writer": f"w-{host}", "job": "1", "index": 0, "node": host, "slices": [0], "clips": 1,
            "started_at": NOW.isoformat(timespec="milliseconds"),
        }  # fmt: skip
        (self.folder.elements / f"w-{host}.jsonl").write_bytes(json_line(record))

    def table(self) -> pa.Table:
        with pq.ParquetFile(self.folder.table) as file:
            return file.read()


def plan_run(root: Path, clips: Iterable[str] | dict[str, float], slices: int = 1, **options) -> Run:
    """Plan a run: manifest and provenance, no rows yet."""
    scores = clips if isinstance(clips, dict) else dict.fromkeys(clips, 3.0)
    names = sorted(scores, key=str.encode)
    mos = np.array([scores[name] for name in names], float)
    sizes = np.full(len(names), 1000, np.int64)
    digest = manifest_digest(names, mos, sizes)
    folder = RunFolder(root, "demo")
    folder.path.mkdir(parents=True, exist_ok=True)
    cut = np.array([i % slices for i in range(len(names))], np.int32)
    folder.manifest.unlink(missing_ok=True)  # of an earlier example of a test
    write_manifest(folder, Manifest(names, mos, sizes, cut, digest))
    provenance = Provenance(
        engine="ffmpeg",
        engine_version="9",
        libvmaf_version="3",
        decoder_version="9",
        plan="identity",
        backend="cpu",
        constant=options.pop("constant", KNOWN),
        manifest=digest,
    )
    folder.provenance.write_text(provenance.as_json())
    config = Config(
        run=RunSection(name="demo", root=str(root)),
        corpus=CorpusSection(**options.pop("corpus", {})),
        extract=ExtractSection(scratch=str(options.pop("scratch", "")), retries=1),
    )
    assert not options
    return Run(folder, config, provenance)
