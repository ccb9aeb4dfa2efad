"""What a table contains and how it was made, from its metadata and the record beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pydantic

from vmafarm.common.errors import UsageError, reason, show
from vmafarm.common.text import counted
from vmafarm.common.text import size as in_units
from vmafarm.disk.jsonl import Count, Text, Word, parse_json, why
from vmafarm.disk.readable import denied
from vmafarm.disk.regular_files import open_regular
from vmafarm.merging.audits import tell_gpu
from vmafarm.published.combined import Combined, column_problems, read_combined
from vmafarm.published.combined import tell as tell_combined
from vmafarm.published.frames_table import KEY as FRAMES
from vmafarm.published.frames_table import NO_CLIPS
from vmafarm.published.merge_record import read_merge_record
from vmafarm.published.table import CHANGED, is_changed
from vmafarm.run_folder.provenance import METADATA_KEY, feature_set_of
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.features import FULL


@dataclass(frozen=True)
class Info:
    """Information about a table or a shard.

    Attributes
    ----------
    path
        The file.
    bytes, rows
        Its size in bytes and rows.
    problems
        Differences between its columns and the schema.
    metadata
        What determined its values; see `vmafarm.run_folder.provenance`.
    record
        What the merge that published it wrote beside it; empty if there is no such file.
    schema
        Of its columns.
    combined
        The tables that it was made of; None: it was not combined.
    damage
        What is wrong with the record, or with the table according to it; empty if nothing is.
    feature_set
        What was measured.
    """

    path: Path
    bytes: int
    rows: int
    problems: list[str]
    metadata: dict[str, Any]
    record: dict[str, Any]
    schema: pa.Schema
    combined: Combined | None = None
    damage: str = ""
    feature_set: FeatureSet = FULL

    @property
    def is_split(self) -> bool:
        """Whether `vmafarm split` has added its column."""
        return SPLIT in self.metadata

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {
            "path": str(self.path), "bytes": self.bytes, "rows": self.rows, "problems": self.problems,
            "metadata": self.metadata, "record": self.record, "damage": self.damage,
        }  # fmt: skip

    def of(self, how: str) -> list[str]:
        """List the features that were ``measured``, or filled in as ``constant``."""
        return [name for name, value in self.metadata["features"].items() if value == how]


def read_info(path: Path) -> Info:
    """Read the metadata of a table and the record beside it.

    Raises
    ------
    UsageError
        It does not exist, or is not a Parquet file of vmafarm.
    """
    with opened_info(path) as (info, _):
        return info


@contextmanager
def opened_info(path: Path) -> Iterator[tuple[Info, FileIO]]:
    """As `read_info`, with the open file, which stays the same one if another takes its place."""
    try:
        content = open_regular(path, None)
    except FileNotFoundError:
        raise UsageError(f"{show(str(path))} is not there", _HINT) from None
    except PermissionError:
        raise denied(path) from None
    except OSError as error:
        raise UsageError(f"{show(str(path))} cannot be read as Parquet: {reason(error)}", _HINT) from None
    with content:
        yield describe(path, content), content


def describe(path: Path, content: FileIO) -> Info:
    """As `read_info`, of an open table that lies at this path."""
    try:
        with pq.ParquetFile(content) as file:
            schema, rows, stated = file.schema_arrow, file.metadata.num_rows, file.metadata.metadata
        _ = schema.names  # decoded now, as UTF-8 or not
        size = os.fstat(content.fileno()).st_size
        record, damage = _read_record(path, content)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{show(str(path))} cannot be read as Parquet: {reason(error)}", _HINT) from None
    try:
        text = (stated or {})[METADATA_KEY]
        _METADATA.validate_json(text)
        metadata = parse_json(text)
        combined = read_combined(metadata)
        features = feature_set_of(metadata)
    except (KeyError, TypeError, ValueError) as error:
        odd = f": {why(error)}" if isinstance(error, ValueError) else ""
        raise UsageError(
            f"{show(str(path))} is not a file of vmafarm: expected the key vmafarm in its metadata{odd}",
            _HINT,
        ) from None
    by_split = SPLIT in metadata and not (combined and combined.of(SPLIT))
    fields = [field for field in schema if not (by_split and field.name == SPLIT)]
    problems = column_problems(pa.schema(fields), combined, features)
    if FRAMES in metadata:
        problems = [NO_CLIPS]
    return Info(path, size, rows, problems, metadata, record, schema, combined, damage, features)


SPLIT = "split"
"""Column that `vmafarm split` adds, and the key of the metadata that says how."""
_HINT = "vmafarm info takes runs/full_features_<run>.parquet, or a shard"


def _read_record(path: Path, table: FileIO) -> tuple[dict[str, Any], str]:
    """Return the record, and what is wrong with it or with the table."""
    try:
        record = read_merge_record(path.with_suffix(".merge.json"))
    except UsageError as error:
        return {}, error.message
    if is_changed(table, record):
        return {}, f"{CHANGED}: vmafarm merge writes both again"
    # If the merge was refused, the table is from an earlier one, which the record does not describe.
    return (record if record.get("published") else {}), ""


class _Split(pydantic.BaseModel):
    """See `vmafarm.tables.split`."""

    by: Word
    seed: int
    counts: dict[Word, Count]


class _Metadata(pydantic.BaseModel):
    """The metadata that is read; see `vmafarm.run_folder.provenance` and `vmafarm.merging.merge`."""

    features: dict[Word, Word]
    incomplete: dict[Word, Count] = {}
    left_out: dict[Text, Word] = {}
    conflicts: dict[Word, Count | Word] = {}
    gpu_differences: dict[Word, Count] = {}
    split: _Split | None = None


_METADATA = pydantic.TypeAdapter(_Metadata)


def tell(info: Info) -> list[tuple[str, str]]:
    """Return label and text of each line to print."""
    metadata, record = info.metadata, info.record
    facts = [
        ("table", show(str(info.path))),
        ("rows", f"{info.rows:,}, {in_units(info.bytes)}"),
        ("columns", "; ".join(info.problems) or _columns(info)),
        *(tell_combined(info.combined) if info.combined else ()),
        ("engine", _join(metadata, "engine", "backend", "engine_version")),
        ("libvmaf", _join(metadata, "libvmaf_version", "model")),
        ("decoder", _join(metadata, "decoder_version")),
        ("plan", _join(metadata, "plan")),
        ("measured", ", ".join(info.of("measured"))),
        ("constant", ", ".join(info.of("constant")) or "none"),
        ("manifest", _join(metadata, "manifest")),
    ]
    if "decimals" in metadata:
        facts.append(
            ("decimals", f"{_join(metadata, 'decimals')} of each frame's value, rounded by the engine")
        )
    if "incomplete" in metadata:
        facts.append(("incomplete", _counts(metadata["incomplete"])))
    if left_out := metadata.get("left_out"):
        facts.append(("left out", show(_few([f"{name}: {why}" for name, why in left_out.items()]))))
    if "conflicts" in metadata:
        facts.append(("conflicts", _counts(metadata["conflicts"])))
    if "gpu_differences" in metadata:
        facts.append(("GPU and CPU", _counts(metadata["gpu_differences"])))
    if split := metadata.get("split"):
        counts = {side: split["counts"].get(side, 0) for side in ("train", "val", "test")}
        facts.append(("split", f"{_counts(counts)}; by {show(split['by'])}, seed {split['seed']}"))
    if record:
        facts += _tell_record(record)
    facts.append(("record", info.damage))
    return [(label, text) for label, text in facts if text]


def _columns(info: Info) -> str:
    known = len(info.feature_set.columns)
    more = len(info.schema) - known
    return f"the {known} of the schema" + (f" and {more:,} more" if more > 0 else "")


def _tell_record(record: dict[str, Any]) -> list[tuple[str, str]]:
    made, audits = record.get("made") or {}, record.get("audits", {})
    facts = [
        ("run", str(record.get("run", ""))),
        ("failed for good", _counts(record.get("failed_classes", {}))),
        ("toolkit", _join(made, "toolkit", "commit")),
        ("configuration", f"sha256:{made['configuration_sha256']}" if made else ""),
        ("images", ", ".join(made.get("images", []))),
        ("hosts", _few(made.get("hosts", []))),
        ("frames", tell_frames(record)),
        ("audited", tell_gpu(audits) or counted(audits.get("clips", 0), "clip")),
        ("checks", _checks(record.get("qa", {}))),
    ]
    return [(label, show(text)) for label, text in facts]


def tell_frames(record: dict[str, Any]) -> str:
    """What is said of the frames of a table; "": none are kept."""
    about = record.get("frames")
    if not about:
        return ""
    return f"{about['rows']:,} rows, {counted(len(about['columns']), 'feature')}: {about['file']}"


def _checks(qa: dict[str, Any]) -> str:
    if not qa:
        return "not run: vmafarm qa"
    found = [
        f"{name} {outcome['count']:,}"
        for name, outcome in qa.items()
        if outcome["result"] in ("found", "failed")
    ]
    return f"{counted(len(qa), 'check')}: {', '.join(found) or 'nothing found'}"


def _join(document: dict[str, Any], *keys: str) -> str:
    return show(" ".join(str(document[key]) for key in keys if document.get(key)))


def _counts(counts: dict[str, Any]) -> str:
    return show(", ".join(f"{name} {count}" for name, count in counts.items()))


def _few(names: list[str], shown: int = 8) -> str:
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more:,} more" if more > 0 else "")
