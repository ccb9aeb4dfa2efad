"""Failures: their classes, and their records."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import pydantic
from pydantic import AfterValidator, Field

from vmafarm.disk.jsonl import Count, Moment, Name, Size, Text, Word, read_lines, read_records
from vmafarm.disk.regular_files import NOT_AS_EXPECTED, list_files
from vmafarm.run_folder.paths import slice_id

CLIP_FAULTS = ("decode_error", "no_video", "no_frames", "incomplete_decode", "too_small", "too_large")
"""Faults of the clip itself: the same on every try and every host, so they can be final."""

BAD_FRAMES = "bad_frames"
"""Frames have a value that cannot be right: none, or no motion where the picture changes."""

ENGINE_FAULTS = ("engine_error", "missing_feature", "bad_log", BAD_FRAMES)
"""Faults of the engine: several in a row mean that the engine is broken, not the clips."""

WRONG_CONSTANT = "wrong_constant"
"""An audit measured another value than the constant that the plan fills in: no value of this engine that
was filled in can be trusted, whatever the clip."""

FAILURE_CLASSES = (
    *CLIP_FAULTS, *ENGINE_FAULTS, WRONG_CONSTANT, "timeout", "out_of_memory", "unreadable", "changed"
)  # fmt: skip


def _known(failure: str) -> str:
    if failure not in FAILURE_CLASSES:
        raise ValueError("expected a class of failure")
    return failure


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
        Key of the limit that was exceeded (see `vmafarm.config.clip_limits.Limits`), and its value; "": none.
    """

    clip_name: Name
    failure: Annotated[Word, AfterValidator(_known)]
    message: Text
    stderr: Annotated[list[Text], Field(max_length=100)]
    attempt: Count
    slice: Count
    host: Word
    writer: Word
    at: Moment
    limit: Word = ""
    limit_was: Size = 0

    __pydantic_config__ = pydantic.ConfigDict(extra="forbid")

    def as_dict(self) -> dict[str, object]:
        """The record as it stands in the failures file."""
        return asdict(self)


def read_failures(folder: Path) -> list[FailureRecord]:
    """All records of a run, ordered by time; those of dead writers too, damaged ones not."""
    return load_failures(folder)[0]


@dataclass(frozen=True)
class Unread:
    """Records that could not be read, and so do not count.

    Attributes
    ----------
    count
        How many they are: lines, files, folders.
    grave
        Those of them that may say of a value which the plan fills in that it is wrong.
    """

    count: int = 0
    grave: int = 0


NOTHING_UNREAD = Unread()


def load_failures(folder: Path, slices: Collection[int] | None = None) -> tuple[list[FailureRecord], Unread]:
    """Read the records of a run, one file per slice and writer; those of earlier versions, per writer.

    Parameters
    ----------
    folder
        Their folder.
    slices
        Only clips of these; None: all.

    Returns
    -------
    records : list of FailureRecord
        Ordered by time.
    unread : Unread
        Lines that are no such records, and files, or the folder, that cannot be read. What a writer did not
        finish is none of them. Fewer records set fewer clips aside: these are done again.
    """
    slices = None if slices is None else frozenset(slices)  # there may be thousands of both
    records: list[FailureRecord] = []
    damaged = grave = 0
    try:
        paths = [path for path in list_files(folder, ".jsonl") if _may_hold(path, slices)]
    except OSError:
        return [], Unread(1, 1)
    for path in paths:
        try:
            found, odd = read_records(path, _RECORD)
        except OSError as error:
            damaged += 1
            grave += error.errno not in NOT_AS_EXPECTED
            continue
        damaged += odd
        grave += sum(map(_is_grave, read_lines(path))) if odd else 0
        records += found
    if slices is not None:
        records = [record for record in records if record.slice in slices]
    ordered = sorted(records, key=lambda r: (r.at, r.writer, r.clip_name, r.attempt))
    return ordered, Unread(damaged, grave)


def writer_of(name: str) -> str:
    """The writer of a file of failures, by its name."""
    slice_name, _, rest = name.removesuffix(".jsonl").partition(".")
    return rest if slice_id(Path(slice_name)) is not None else name.removesuffix(".jsonl")


def _may_hold(path: Path, slices: Collection[int] | None) -> bool:
    of = slice_id(path.with_name(path.name.partition(".")[0]))
    return slices is None or of is None or of in slices


def _is_grave(line: bytes) -> bool:
    """Whether this was a record of `WRONG_CONSTANT`: a disk that flips a bit leaves half of the name."""
    half, name = len(WRONG_CONSTANT) // 2, WRONG_CONSTANT.encode()
    if name[:half] not in line and name[half:] not in line:
        return False
    try:
        _RECORD.validate_json(line)
    except ValueError:
        return True
    return False


_RECORD = pydantic.TypeAdapter(FailureRecord)
