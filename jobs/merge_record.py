"""The record of a merge as others read it: with what it must say, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic

from jobs.errors import UsageError, reason, show
from jobs.records import Count, Flag, Size, Text, Word, parse_json, why
from jobs.regular_files import MOST_BYTES_OF_RECORDS, read_regular


class _Part(pydantic.BaseModel, extra="allow"):
    """What is not read of it stays as it is: a record is read to be written again with more in it."""


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


class _Options(_Part):
    allow_missing: Flag


class _Made(_Part):
    toolkit: Text = ""
    commit: Text = ""
    configuration_sha256: Word = ""
    images: list[Word] = []
    hosts: list[Word] = []


class _Audits(_Part):
    clips: Count = 0


class _Record(_Part):
    """What is read of it; see `jobs.merge.MergeResult` and `jobs.deliver`."""

    run: Text
    published: Flag
    table_sha256: Word
    inputs_sha256: Word
    options: _Options
    findings: list[_Finding]
    failed_classes: dict[Word, Count] = {}
    made: _Made = _Made()
    audits: _Audits = _Audits()
    qa: dict[Word, _Check] = {}
    delivered: Flag = False


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
        All that it says, and what a key that it lacks stands for; empty where there is none.

    Raises
    ------
    UsageError
        It is not what a merge writes.
    """
    try:
        content = read_regular(path, MOST_BYTES_OF_RECORDS)
        record = parse_json(content)
        validated = _RECORD.validate_python(record).model_dump()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        said = why(error) if isinstance(error, ValueError) else reason(error)
        raise UsageError(
            f"{show(str(path))} is not the record of a merge: {said}",
            "remove it: the next merge writes it anew",
        ) from None
    return {**record, **validated}  # in the order of the file
