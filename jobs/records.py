"""Records of which a file holds one a line: how they are written, and how they are read after a kill."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def json_line(value: Any) -> bytes:
    """One line of strict JSON Lines (NaN is not JSON and raises ValueError)."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def checked_line(value: Any) -> bytes:
    """A line of JSON behind its CRC-32, so that a torn write shows."""
    line = json_line(value)
    return f"{zlib.crc32(line):08x} ".encode() + line


def read_checked(path: Path) -> tuple[list[Any], int]:
    """Read what `checked_line` wrote.

    Returns
    -------
    records : list
        The whole ones, in order.
    torn : int
        Lines that are cut or do not match their checksum; their writer died in the middle.
    """
    records = []
    torn = 0
    for line in path.read_bytes().splitlines(keepends=True):
        crc, body = line[:8], line[9:]
        try:
            if not line.endswith(b"\n") or line[8:9] != b" " or crc != f"{zlib.crc32(body):08x}".encode():
                raise ValueError
            records.append(json.loads(body))
        except (ValueError, RecursionError):  # a sum that is right over what is no JSON: nobody's record
            torn += 1
    return records, torn


def read_json_lines(path: Path) -> Iterator[Any]:
    """Read JSON Lines; a line that is none, as the last one of a killed writer, is left out."""
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            continue
