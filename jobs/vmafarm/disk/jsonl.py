"""Files with one record per line: how they are written and read.

Whoever may write into the run folder may have put anything there. So a record is read by its types: no text
with half a character, no number that another program could not hold, no time without its zone.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
import pydantic_core
from pydantic import AfterValidator, BeforeValidator, Field

from vmafarm.common.errors import show
from vmafarm.disk.regular_files import MOST_BYTES_OF_RECORDS, read_regular

_T = TypeVar("_T")
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Between them lies every time on record."""
MOST_SECONDS = 1e9
"""Upper bound on the time that a clip can take."""
MOST_DAMAGED = 10_000
"""Damaged records of a file after which the rest is not parsed."""


def _to_time(text: Any) -> datetime:
    at = datetime.fromisoformat(text) if isinstance(text, str) else None
    if at is None or at.tzinfo is None or not EARLIEST <= at < LATEST:
        raise ValueError("expected a time from 1970 on, with its zone")
    return at


def _as_moment(text: str) -> str:
    _to_time(text)
    return text


Word = Annotated[str, Field(strict=True, max_length=1024)]
"""Name of a host, a job, a writer."""
Name = Annotated[str, Field(strict=True, max_length=4096)]
"""Name of a clip."""
Text = Annotated[str, Field(strict=True, max_length=1 << 20)]
"""For people."""
Moment = Annotated[str, Field(strict=True, max_length=40), AfterValidator(_as_moment)]
"""ISO 8601 with its zone."""
Time = Annotated[datetime, BeforeValidator(_to_time)]
"""The same, as a datetime."""
Count = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]
CountOrUnknown = Annotated[int, Field(strict=True, ge=-1, le=2**31 - 1)]
"""-1: unknown."""
Size = Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)]
Seconds = Annotated[float, Field(strict=True, ge=0, le=MOST_SECONDS)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]


def json_line(value: Any) -> bytes:
    """One line of strict JSON Lines (NaN is not JSON and raises ValueError)."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def checked_line(value: Any) -> bytes:
    """A line of JSON behind its CRC-32, so that a torn write shows."""
    return with_checksum(json_line(value))


def with_checksum(line: bytes) -> bytes:
    """A line, with its end, behind its CRC-32."""
    return f"{zlib.crc32(line):08x} ".encode() + line


def checked_body(line: bytes) -> bytes | None:
    """What `with_checksum` was given; None: the line is cut, or does not match its checksum."""
    body = line[9:]
    # The checksum is of the line end, too.
    return body if line[8:9] == b" " and line[:8] == f"{zlib.crc32(body):08x}".encode() else None


def parse_json(data: bytes) -> Any:
    """What JSON says; raises ValueError for NaN, half a character and endless nesting, too."""
    return pydantic_core.from_json(data, allow_inf_nan=False)


def why(error: ValueError) -> str:
    """What was wrong with a record, in a line for a terminal: without what pydantic says besides."""
    if isinstance(error, pydantic.ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return show(f"{where}: {first['msg']}" if where else first["msg"])
    return show(str(error).partition("\n")[0])


def read_checked(path: Path) -> tuple[list[bytes], int]:
    """Read what `checked_line` wrote.

    Returns
    -------
    records : list of bytes
        The whole ones, in order, as JSON.
    torn : int
        Lines that are cut or do not match their checksum; their writer died in the middle.

    Raises
    ------
    OSError
        It cannot be read, is no regular file, or has more than `MOST_BYTES_OF_RECORDS`.
    """
    records = []
    torn = 0
    for line in io.BytesIO(read_regular(path, MOST_BYTES_OF_RECORDS)):
        if (body := checked_body(line)) is not None:
            records.append(body)
        else:
            torn += 1
    return records, torn


def read_lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a file of records; the last one of a killed writer, which has no end, is left out.

    Raises
    ------
    OSError
        As `read_checked`.
    """
    # One at a time: a file of nothing but line ends has as many lines as bytes.
    for line in io.BytesIO(read_regular(path, MOST_BYTES_OF_RECORDS)):
        if line.endswith(b"\n"):
            yield line[:-1]


def read_records(path: Path, adapter: pydantic.TypeAdapter[_T]) -> tuple[list[_T], int]:
    """Read JSON Lines of one type.

    Returns
    -------
    records : list
        In order.
    damaged : int
        Whole lines that are not such a record; and everything after the first `MOST_DAMAGED` of these: no
        writer and no disk leaves so many, and each takes time to parse.

    Raises
    ------
    OSError
        As `read_checked`.
    """
    records = []
    damaged = 0
    for line in read_lines(path):
        if damaged >= MOST_DAMAGED:
            damaged += 1
            continue
        try:
            records.append(adapter.validate_json(line))
        except ValueError:
            damaged += 1
    return records, damaged
