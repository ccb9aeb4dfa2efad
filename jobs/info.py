"""What a table is and how it came to be, by its own metadata and the record beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.errors import UsageError, show
from jobs.merge.inputs import schema_differences
from jobs.provenance import METADATA_KEY
from jobs.words import counted, size


@dataclass(frozen=True)
class Info:
    """A table, or a shard.

    Attributes
    ----------
    path
        The file.
    bytes, rows
        Its size.
    problems
        In what its columns differ from the 48 of the schema.
    metadata
        What determines its values; see `jobs.provenance`.
    record
        What the merge that has published it wrote beside it; empty where there is no such file.
    """

    path: Path
    bytes: int
    rows: int
    problems: list[str]
    metadata: dict[str, Any]
    record: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "path": str(self.path), "bytes": self.bytes, "rows": self.rows, "problems": self.problems,
            "metadata": self.metadata, "record": self.record,
        }  # fmt: skip

    def of(self, how: str) -> list[str]:
        """Features that were ``measured``, or filled in as ``constant``."""
        return [name for name, value in self.metadata["features"].items() if value == how]


def read_info(path: Path) -> Info:
    """Read what a table says of itself.

    Raises
    ------
    UsageError
        It is not there, not Parquet, or not of vmafarm.
    """
    hint = "vmafarm info takes runs/full_features_<run>.parquet, or a shard"
    try:
        with pq.ParquetFile(path) as file:
            schema, rows, stated = file.schema_arrow, file.metadata.num_rows, file.metadata.metadata
    except FileNotFoundError:
        raise UsageError(f"{show(str(path))} is not there", hint) from None
    except (pa.ArrowException, OSError) as error:
        why = show(str(error).partition("\n")[0])
        raise UsageError(f"{show(str(path))} is not a Parquet file that can be read: {why}", hint) from None
    try:
        metadata = json.loads((stated or {})[METADATA_KEY])
        if not isinstance(metadata["features"], dict):
            raise TypeError
    except (KeyError, ValueError, TypeError):
        raise UsageError(
            f"{show(str(path))} does not say what made it: expected the key vmafarm in its metadata", hint
        ) from None
    return Info(path, path.stat().st_size, rows, schema_differences(schema), metadata, _read_record(path))


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.with_suffix(".merge.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    # Of a merge that refused, its table is an earlier one: the record does not speak of it.
    return record if isinstance(record, dict) and record.get("published") else {}


def tell(info: Info) -> list[tuple[str, str]]:
    """Label and text of each thing to say."""
    metadata, record = info.metadata, info.record
    facts = [
        ("table", show(str(info.path))),
        ("rows", f"{info.rows:,}, {size(info.bytes)}"),
        ("columns", "; ".join(info.problems) or "the 48 of the schema"),
        ("engine", _join(metadata, "engine", "backend", "engine_version")),
        ("libvmaf", _join(metadata, "libvmaf_version", "model")),
        ("decoder", _join(metadata, "decoder_version")),
        ("plan", _join(metadata, "plan")),
        ("measured", ", ".join(info.of("measured"))),
        ("constant", ", ".join(info.of("constant")) or "none"),
        ("manifest", _join(metadata, "manifest")),
    ]
    if "incomplete" in metadata:
        facts.append(("incomplete", _counts(metadata["incomplete"])))
    if left_out := metadata.get("left_out"):
        facts.append(("left out", show(_few([f"{name}: {why}" for name, why in left_out.items()]))))
    if "conflicts" in metadata:
        facts.append(("conflicts", _counts(metadata["conflicts"])))
    if record:
        facts += _tell_record(record)
    return [(label, text) for label, text in facts if text]


def _tell_record(record: dict[str, Any]) -> list[tuple[str, str]]:
    made = record.get("made", {})
    facts = [
        ("run", str(record.get("run", ""))),
        ("failed for good", _counts(record.get("failed_classes", {}))),
        ("toolkit", _join(made, "toolkit", "commit")),
        ("configuration", f"sha256:{made['configuration_sha256']}" if made else ""),
        ("images", ", ".join(made.get("images", []))),
        ("hosts", _few(made.get("hosts", []))),
        ("audited", counted(record.get("audits", {}).get("clips", 0), "clip")),
        ("checks", _checks(record.get("qa", {}))),
    ]
    return [(label, show(text)) for label, text in facts]


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
