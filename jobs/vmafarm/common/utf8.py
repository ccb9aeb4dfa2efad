"""Names are bytes of the file system read as UTF-8, whatever the locale says.

Outside of Python's UTF-8 mode (PEP 540) the locale decides how file names, arguments and the environment are
decoded: in ISO-8859-1 a clip would have another name in the table than everywhere else.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

OPTIONS = ("-X", "utf8")
"""Of every Python that scores or merges; unlike PYTHONUTF8 they also hold for a Python that ignores its
environment, and on a node that did not get ours."""

_COMMAND_LINE = Path("/proc/self/cmdline")


def reads_utf8() -> bool:
    """Whether this interpreter takes file names for UTF-8."""
    return sys.getfilesystemencoding() == "utf-8"


def is_utf8(text: str) -> bool:
    """Whether text is valid UTF-8: bytes that do not decode arrive as lone surrogates (PEP 383)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def restart_in_utf8() -> None:
    """Start this command again in UTF-8 mode if the locale would have its names decoded otherwise.

    The process stays the same. To be called before anything is read from the standard input.
    """
    os.environ["PYTHONUTF8"] = "1"  # for the Pythons that this one starts
    if not reads_utf8():
        program, *arguments = _command_line()
        # The name by which the interpreter was called leads to no virtual environment if PATH gave it.
        words = [program, *map(str.encode, OPTIONS), *arguments]
        os.execv(os.fsencode(sys.executable) or program, words)  # noqa: S606 - no shell is wanted


def _command_line() -> list[bytes]:
    """Bytes of the command line: what a locale has decoded cannot always be encoded again (GB18030)."""
    try:
        words = _COMMAND_LINE.read_bytes().split(b"\0")[:-1]
    except OSError:
        words = []
    return words if len(words) == len(sys.orig_argv) else list(map(os.fsencode, sys.orig_argv))
