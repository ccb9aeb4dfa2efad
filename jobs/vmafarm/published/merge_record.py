"""Reads the record of a merge, and refuses one that lacks what it must say."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pydantic

from vmafarm.common.errors import UsageError, reason, show
from vmafarm.disk.jsonl import Count, Flag, Name, Number, Size, Text, Word, parse_json, why
from vmafarm.disk.readable import denied
from vmafarm.disk.regular_files import MOST_BYTES_OF_RECORDS, read_regular


class _Part(pydantic.BaseModel):
    """Keeps other keys."""

    model_config = pydantic.ConfigDict(extra="allow")


class _Check(_Part):
    severity: Word
    result: Word
    count: Size = 0
    message: Text = ""


class _Finding(_Part):
    name: Word
    severity: Word
    message: Text
    count: Size


class _Conflict(_Part):
    clip_name: Name
    copies: Size
    columns: list[Word]
    files: list[Text]


class _Options(_Part):
    allow_missing: Flag
    allow: list[Word] = []


class _Made(_Part):
    toolkit: Text = ""
    commit: Text = ""
    configuration_sha256: Word
    images: list[Word] = []
    hosts: list[Word] = []


class _GpuFeature(_Part):
    clips: Count
    beyond: Count
    largest: Number | None


class _Audits(_Part):
    clips: Count = 0
    gpu: dict[Word, _GpuFeature] = {}


class _Tidied(_Part):
    file: Name
    bytes: Size
    sha256: Word


class _FrameProblem(_Part):
    clip_name: Name
    column: Word
    expected: Number | None
    found: Number | None
    file: Text


class _Frames(_Part):
    file: Text
    clips: Count
    rows: Size
    columns: list[Word]
    sha256: Word
    problems: list[_FrameProblem] = []


class _NoFrames(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")


class _Record(_Part):
    """The keys that are read; see `vmafarm.merging.result.MergeResult` and `vmafarm.publish`."""

    version: Literal[1] = 1  # which the first ones did not state
    run: Text
    published: Flag
    table_sha256: Word
    inputs_sha256: Word
    options: _Options
    findings: list[_Finding]
    conflicts: list[_Conflict] = []
    counts: dict[Word, Count] = {}
    failed_classes: dict[Word, Count] = {}
    made: _Made | None = None
    audits: _Audits = _Audits()
    qa: dict[Word, _Check] = {}
    delivered: Flag = False
    tidied: list[_Tidied] = []
    frames: _Frames | _NoFrames = _NoFrames()
    database: dict[Word, Word] = {}


_RECORD = pydantic.TypeAdapter(_Record)


def read_merge_record(path: Path) -> dict[str, Any]:
    """Read the record of a merge.

    Parameters
    ----------
    path
        ``full_features_<run>.merge.json``.

    Returns
    -------
    dict
        The whole record, with an empty value for each optional key that it lacks; empty if there is none.

    Raises
    ------
    UsageError
        It is not what a merge writes, or this user has no permission to read it.
    """
    try:
        record = _RECORD.validate_python(parse_json(read_regular(path, MOST_BYTES_OF_RECORDS)))
    except FileNotFoundError:
        return {}
    except PermissionError:
        refused = denied(path)
        raise UsageError(refused.message, refused.hint) from None
    except (OSError, ValueError) as error:
        said = why(error) if isinstance(error, ValueError) else reason(error)
        raise UsageError(
            f"{show(str(path))} is not the record of a merge: {said}",
            "remove it: the next merge writes a new one",
        ) from None
    document = record.model_dump()
    return document | {"made": document["made"] or {}}
