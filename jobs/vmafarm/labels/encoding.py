"""Decodes text files of users, and says what to do about one in another encoding."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import NoReturn

from vmafarm.common.errors import UsageError, show

_MARKS = (
    # UTF-32 first: its little-endian mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks (Unicode Standard, 23.8); UTF-8's is known to the codec ``utf-8-sig``."""

_LOOKED_AT = 4096
_ADVICE = "often WINDOWS-1252 in western Europe, GB18030 in China"


def decode_labels(path: Path, data: bytes, encoding: str = "") -> tuple[str, bytes, str]:
    """Decode a label file; bytes of an unknown encoding are kept apart, and refused where they matter.

    Parameters
    ----------
    path
        Named in the message.
    data
        Its content.
    encoding
        As Python names it; empty: UTF-8, or UTF-16 or UTF-32 with a byte order mark.

    Returns
    -------
    tuple of (str, bytes, str)
        The text; the bytes again if they are of an unknown encoding, in which case each byte that is not
        ASCII is a lone surrogate in the text (separators and quotes are the same in all encodings that
        extend ASCII); and what must be told, or "".

    Raises
    ------
    UsageError
        The bytes are not of the encoding that was named, or there is no such encoding.
    """
    if encoding:
        return _decode_as(path, data, encoding), b"", ""
    try:
        return decode_text(path, data), b"", ""
    except UsageError:
        if any(data.startswith(mark) for mark, _ in _MARKS) or _without_mark(data):
            raise
    note = "the file is not UTF-8; nothing that is used differs"
    return data.removeprefix(codecs.BOM_UTF8).decode("ascii", "surrogateescape"), data, note


def refuse_undecoded(path: Path, data: bytes, line: int) -> NoReturn:
    """Raise UsageError about the first byte on a line, or after it, that is neither ASCII nor UTF-8.

    Parameters
    ----------
    path, data
        The file and its content.
    line
        From 1; a name or a score on it is not ASCII.
    """
    starts = [0, *(found.end() for found in _LINE_END.finditer(data))]
    begin = starts[min(line, len(starts)) - 1]
    try:
        data[begin:].decode()
    except UnicodeDecodeError as error:
        at = begin + error.start
    else:  # valid on its own, but not in a file whose other bytes are not UTF-8
        at = next((i for i in range(begin, len(data)) if data[i] > 127), begin)
    raise UsageError(
        f"{show(str(path))}, line {line}: byte 0x{data[at]:02x} at offset {at} is not UTF-8",
        "save the file as UTF-8, or name its encoding with corpus.encoding: " + _ADVICE,
    )


_LINE_END = re.compile(rb"\r\n|\r|\n")


def _decode_as(path: Path, data: bytes, encoding: str) -> str:
    shown = show(encoding)
    try:
        name = codecs.lookup(encoding).name
        text = data.decode("utf-8-sig" if name == "utf-8" else name)
    except (LookupError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            line = data.count(b"\n", 0, error.start) + 1
            raise UsageError(
                f"{show(str(path))}, line {line}: byte 0x{data[error.start]:02x} at offset {error.start} "
                f"is not {shown} (corpus.encoding)",
                "name the encoding that the file was written in: " + _ADVICE,
            ) from None
        raise UsageError(
            f"corpus.encoding is {shown}, which is no encoding of text that Python knows",
            "name one, such as utf-8, windows-1252 or gb18030, or leave it out",
        ) from None
    return text.removeprefix("\ufeff")


def decode_text(path: Path, data: bytes) -> str:
    """Decode UTF-8 with or without a byte order mark, or UTF-16 or UTF-32 with one.

    Parameters
    ----------
    path
        Named in the message.
    data
        Its content.

    Raises
    ------
    UsageError
        It is in another encoding; the message names line and offset.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8-sig")
    if encoding == "utf-8-sig" and (guess := _without_mark(data)):
        raise UsageError(
            f"{show(str(path))}: every second byte is zero, so this is {guess} without a byte order mark; "
            "expected UTF-8",
            f"save the file as UTF-8 (iconv -f {guess} -t UTF-8 converts it)",
        )
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        where = f"{show(str(path))}, line {line}: byte 0x{data[error.start]:02x} at offset {error.start}"
        if encoding != "utf-8-sig":
            raise UsageError(
                f"{where} is not {encoding.upper()}, with whose byte order mark the file begins",
                "is the file cut or damaged? save it again, as UTF-8",
            ) from None
        raise UsageError(
            f"{where} is not UTF-8",
            "save the file as UTF-8; iconv -f ENCODING -t UTF-8 converts it, with the encoding that it was "
            "written in: " + _ADVICE,
        ) from None


def _without_mark(data: bytes) -> str:
    """UTF-16LE or UTF-16BE, where ASCII text in it shows by its zeros; "" for anything else."""
    sample = data[:_LOOKED_AT]
    for name, upper, lower in (
        ("UTF-16LE", sample[1::2], sample[::2]),
        ("UTF-16BE", sample[::2], sample[1::2]),
    ):
        if 0 not in lower and upper.count(0) * 2 > len(upper):
            return name
    return ""
