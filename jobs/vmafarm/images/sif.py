"""Digest and labels of an image (SIF)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pydantic

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.disk.jsonl import Text, Word, why
from vmafarm.disk.regular_files import open_regular
from vmafarm.images.apptainer import ask, find_apptainer, parse_answer
from vmafarm.images.inside import LABEL

_MAGIC = b"SIF_MAGIC"
_MAGIC_AT = 32
"""Offset, after the line that makes a SIF executable (sylabs/sif, header layout)."""


class _Attributes(pydantic.BaseModel):
    labels: dict[Word, Text] | None = None


class _Data(pydantic.BaseModel):
    attributes: _Attributes


class _Inspected(pydantic.BaseModel):
    """The part of ``apptainer inspect --json`` that is read."""

    data: _Data


_INSPECTED = pydantic.TypeAdapter(_Inspected)


def check_sif(image: Path) -> None:
    """Raise UsageError if this is not a readable SIF."""
    try:
        with open_regular(image, None) as file:
            head = file.read(_MAGIC_AT + len(_MAGIC))
    except OSError as error:
        raise UsageError(
            f"cannot read the image {show(str(image))}: {error.strerror}", "build one: vmafarm image"
        ) from None
    if head[_MAGIC_AT:] != _MAGIC:
        raise UsageError(
            f"{show(str(image))} is not an Apptainer image (SIF)", "build one with: vmafarm image"
        )


def read_digest(image: Path) -> str:
    """Return ``sha256:`` and the digest of a file in hexadecimal."""
    with open_regular(image, None) as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def read_stamp(image: Path) -> str:
    """Return size, time of the last change in seconds, and inode of a file, as containers/element.sh does.

    An image with the same stamp is taken for the same: its SHA-256 takes too long for each element.
    """
    status = image.stat()
    return f"{status.st_size}:{int(status.st_mtime)}:{status.st_ino}"


def read_labels(image: Path, program: str = "apptainer") -> dict[str, str]:
    """Read the labels that this toolkit has put on an image.

    Parameters
    ----------
    image
        The SIF.
    program
        That reads it: apptainer or singularity.

    Returns
    -------
    dict
        Values by name without the prefix `LABEL`: ``version``, ``engine``, ``recipe``, ``cuda`` ("none":
        built without), ``vmaf_commit`` and so on; empty for an image of something else.

    Raises
    ------
    UsageError
        It is not a SIF, or cannot be read.
    UnavailableError
        No such program, or it does not answer.
    """
    check_sif(image)
    said = ask([str(find_apptainer(program)), "inspect", "--json", "--labels", str(image)])
    try:
        labels = parse_answer(said, _INSPECTED).data.attributes.labels or {}
    except ValueError as error:
        raise UnavailableError(
            f"{program} inspect shows no labels of {show(str(image))}: {said[:200]!r}: {why(error)}",
            f"try `{program} inspect` yourself; if it fails too, build the image again",
        ) from None
    return {key.removeprefix(LABEL): value for key, value in labels.items() if key.startswith(LABEL)}
