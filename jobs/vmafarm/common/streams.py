"""The command's standard streams: what they cannot show is escaped, and a failed write is reported once."""

from __future__ import annotations

import codecs
import errno
import io
import locale
import os
import select
import sys
from typing import Any, TextIO

from vmafarm.common.errors import INCOMPLETE, UNAVAILABLE

_STDERR = 2


class OutputError(BaseException):
    """The standard output accepts no more data.

    Not an `Exception`: only the command itself can handle it.

    Attributes
    ----------
    message, hint
        What to print on the standard error; "" where the reader has gone (``| head``), which is no error.
    exit_code
        Of the command.
    """

    def __init__(self, error: OSError) -> None:
        gone = error.errno == errno.EPIPE
        self.message = "" if gone else f"cannot write the output: {error.strerror}"
        self.hint = "free space there, or send it somewhere else; what was finished is kept"
        self.exit_code = INCOMPLETE if gone else UNAVAILABLE
        super().__init__(self.message)


def set_up_streams() -> None:
    """Replace ``sys.stdin``, ``sys.stdout`` and ``sys.stderr``; to be called before they are used.

    Files and pipes are UTF-8, whatever the locale or PYTHONIOENCODING says. A terminal has the encoding of
    its locale, and what that lacks is escaped. A stream that was closed reads and writes nothing. A failed
    write to the standard output raises `OutputError`; one to the standard error, where nobody could be told,
    is dropped.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdin = io.TextIOWrapper(
        io.BufferedReader(io.FileIO(0, "r", closefd=False)), _encoding(0),
        "surrogateescape" if os.isatty(0) else "strict",
    )  # fmt: skip
    sys.stdout = _writer(1, sys.stdout)
    sys.stderr = _writer(2, sys.stderr)
    os.environ["PYTHONIOENCODING"] = "utf-8:backslashreplace"  # logs of the Pythons that this one starts


def _writer(descriptor: int, before: TextIO | None) -> TextIO:
    at_once = bool(descriptor == _STDERR or os.isatty(descriptor) or getattr(before, "write_through", False))
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(descriptor)), _encoding(descriptor), "backslashreplace",
        newline="\n", line_buffering=at_once,
    )  # fmt: skip


def _encoding(descriptor: int) -> str:
    if not os.isatty(descriptor):
        return "utf-8"
    try:
        name = codecs.lookup(locale.getencoding()).name
    except LookupError:  # Python has no codec for this locale
        return "utf-8"
    return "utf-8" if name == "ascii" else name  # the locales C and POSIX say nothing of a terminal (PEP 538)


class _Output(io.FileIO):
    """A standard stream that fails once: what comes after that goes nowhere."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)

    def write(self, data: Any) -> int:
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])  # another user of the pipe has made it non-blocking
            return written
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if self.fileno() == _STDERR:
                return len(data)
            raise OutputError(error) from None
