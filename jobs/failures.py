"""Failures: their classes, and their records."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import get_origin, get_type_hints

from jobs.records import read_json_lines

CLIP_FAULTS = ("decode_error", "no_video", "no_frames", "incomplete_decode", "too_small", "too_large")
"""Faults of the clip itself: the same on every try and every host, so they can be final."""

ENGINE_FAULTS = ("engine_error", "missing_feature", "bad_log")
"""Faults of the engine: several in a row mean that the engine is broken, not the clips."""

WRONG_CONSTANT = "wrong_constant"
"""An audit measured another value than the constant that the plan fills in: no value of this engine that
was filled in can be trusted, whatever the clip."""

FAILURE_CLASSES = (
    *CLIP_FAULTS, *ENGINE_FAULTS, WRONG_CONSTANT, "timeout", "out_of_memory", "unreadable", "changed"
)  # fmt: skip


@dataclass(frozen=True)
class FailureRecord:
    """One failed try of one clip.

    Attributes
    ----------
    clip_name
        Path below the clips folder.
    failure
        One of `FAILURE_CLASSES`.
    message
        What happened, in one line.
    stderr
        Last lines of the child's error output.
    attempt
        Number of this try within its element, from 1.
    slice, host, writer, at
        Where and when (ISO 8601, UTC).
    limit, limit_was
        Key of the limit that was exceeded (see `jobs.limits.Limits`) and its value then; "": none was.
    """

    clip_name: str
    failure: str
    message: str
    stderr: list[str]
    attempt: int
    slice: int
    host: str
    writer: str
    at: str
    limit: str = ""
    limit_was: int = 0

    def as_dict(self) -> dict[str, object]:
        """The record as it stands in the failures file."""
        return asdict(self)


def read_failures(folder: Path) -> list[FailureRecord]:
    """All records of a run, ordered by time; those of dead writers too, damaged ones not."""
    return load_failures(folder)[0]


def load_failures(folder: Path) -> tuple[list[FailureRecord], int]:
    """Read all records of a run.

    Returns
    -------
    records : list of FailureRecord
        Ordered by time.
    damaged : int
        Lines that are no such records, and files that cannot be read. What a writer did not finish
        is none of them. Fewer records set fewer clips aside: these are done again.
    """
    records: list[FailureRecord] = []
    damaged = 0
    for path in sorted(folder.glob("*.jsonl")):
        try:
            lines = path.read_bytes().count(b"\n")
            whole = [record for record in read_json_lines(path) if _is_record(record)]
        except OSError:
            damaged += 1
            continue
        damaged += max(0, lines - len(whole))  # there may be more by now
        records += [FailureRecord(**record) for record in whole]
    return sorted(records, key=lambda r: (r.at, r.writer, r.clip_name, r.attempt)), damaged


def _is_record(found: object) -> bool:
    return (
        isinstance(found, dict)
        and _NEEDED <= found.keys() <= _TYPES.keys()
        and all(type(value) is _TYPES[name] for name, value in found.items())
        and all(isinstance(line, str) for line in found["stderr"])
    )


_TYPES = {name: get_origin(kind) or kind for name, kind in get_type_hints(FailureRecord).items()}
_NEEDED = {field.name for field in fields(FailureRecord) if field.default is MISSING}
"""Earlier versions wrote no others."""
