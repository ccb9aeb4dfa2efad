"""Journals of writers as they are read: each record by its types, whoever reads it."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydantic

from vmafarm.common.errors import reason
from vmafarm.disk import jsonl
from vmafarm.disk.jsonl import Count, Flag, Name, Number, Seconds, Size, Text, Time, read_checked, why
from vmafarm.run_folder.provenance import feature_set_of
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.features import FULL
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA, DEFAULTS, MAY_BE_UNKNOWN


@dataclass(frozen=True)
class Journal:
    """What a journal holds.

    Attributes
    ----------
    provenance
        What its rows were made with, as its first line says; None: that line is damaged.
    rows
        Row and clip log entry of each clip, in order; null is NaN again.
    torn
        Lines that were cut when their writer died.
    wrong
        What is wrong with the first whole line that no writer writes; "": there is none.
    """

    provenance: Mapping[str, Any] | None
    rows: list[tuple[dict[str, Any], dict[str, Any]]]
    torn: int
    wrong: str


def read_journal(path: Path) -> Journal:
    """Read a journal; raises OSError where it cannot be read.

    Parameters
    ----------
    path
        As `vmafarm.shards.writer.ShardWriter` writes it.
    """
    lines, torn = read_checked(path)
    provenance, rows, wrong, features = None, [], "", FULL
    for line in lines:
        try:
            record: Any = _record(features).validate_json(line)
            if record.provenance is not None:
                features, provenance = feature_set_of(record.provenance), record.provenance
                continue
            if record.row is None or record.log is None:
                raise ValueError("a record without a row, or without how it was made")
            row, entry = _plain(record.row, features.arrow_schema), _plain(record.log, CLIP_LOG_SCHEMA)
            if row["clip_name"] != entry["clip_name"]:
                raise ValueError("a row of one clip with how another one was made")
        except (ValueError, KeyError, TypeError) as error:
            wrong = wrong or (why(error) if isinstance(error, ValueError) else repr(error))
        else:
            entry["finished_at"] = entry["finished_at"].astimezone(UTC)
            rows.append((row, entry))
    return Journal(provenance, rows, torn, wrong)


def read_journals(paths: Iterable[Path]) -> Iterator[tuple[Path, Journal]]:
    """Read journals; one whose writer has ended meanwhile, and has put its rows into a shard, is passed over.

    Of a journal with `Journal.wrong` nothing may be taken; one that cannot be read says there why.
    """
    for path in paths:
        try:
            yield path, read_journal(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield path, Journal(None, [], 0, reason(error))


@functools.lru_cache(maxsize=8)
def _record(features: FeatureSet) -> pydantic.TypeAdapter[Any]:
    row = pydantic.create_model("Row", __config__={"extra": "forbid"}, **_fields(features.arrow_schema))
    log = pydantic.create_model("Log", **_fields(CLIP_LOG_SCHEMA))
    fields: dict[str, Any] = {"provenance": (dict[str, Any] | None, None)}
    fields |= {"row": (row | None, None), "log": (log | None, None)}
    return pydantic.TypeAdapter(pydantic.create_model("Record", __config__={"extra": "forbid"}, **fields))


def _fields(schema: pa.Schema) -> dict[str, Any]:
    return {field.name: (_type(field), DEFAULTS.get(field.name, ...)) for field in schema}


def _type(field: pa.Field) -> Any:
    if field.name == "clip_name":
        return Name
    if field.type == pa.float64():
        return (Seconds if field.name.startswith("seconds") else Number) | None
    if field.name in MAY_BE_UNKNOWN:
        return jsonl.CountOrUnknown
    types = {pa.string(): Text, pa.int32(): Count, pa.int64(): Size, pa.bool_(): Flag}
    return types.get(field.type, Time)


def _plain(record: pydantic.BaseModel, schema: pa.Schema) -> dict[str, Any]:
    """The columns of a record, null as NaN."""
    return {
        field.name: math.nan if value is None else value
        for field in schema
        for value in (getattr(record, field.name),)
    }
