"""Decodes text files of users, and says what to do about one in another encoding."""

from __future__ import annotations

import codecs
from pathlib import Path

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
            "written in: often WINDOWS-1252 in western Europe, GB18030 in China",
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
