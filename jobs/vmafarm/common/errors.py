"""The one error base: what was found, what to do, and the exit status."""

from __future__ import annotations

import errno
import os

INCOMPLETE = 1
USAGE = 2
UNAVAILABLE = 3


class VmafarmError(Exception):
    """An error that the user can act on; the command line prints it without a traceback.

    Parameters
    ----------
    message
        What was found and what was expected, with the file, the clip or the key.
    hint
        What to do about it.
    """

    exit_code = INCOMPLETE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[type[VmafarmError], tuple[str, str]]:
        # Exceptions cross process borders as pickles; the default would drop the hint.
        return type(self), (self.message, self.hint)


class IncompleteError(VmafarmError):
    """The work is not complete or not valid (exit status 1)."""

    exit_code = INCOMPLETE


class UsageError(VmafarmError):
    """Wrong use, input or configuration (exit status 2)."""

    exit_code = USAGE


class UnavailableError(VmafarmError):
    """Something that is needed is not there: a program, a limit, a permission (exit status 3)."""

    exit_code = UNAVAILABLE


def explain(error: VmafarmError | OSError | MemoryError) -> VmafarmError:
    """Tell an error of the system that nobody nearer to it has explained; one of ours stays as it is.

    Parameters
    ----------
    error
        As it was raised.
    """
    if isinstance(error, VmafarmError):
        return error
    if isinstance(error, MemoryError):
        return UnavailableError("no memory is left", _LESS_MEMORY)
    where = f"{show(os.fsdecode(error.filename))}: " if isinstance(error.filename, (str, bytes)) else ""
    return UnavailableError(f"{where}{error.strerror or error}", to_do(error.errno))


def explain_limit(error: Exception) -> UnavailableError | None:
    """Tell what a library makes of a limit of this process, by its words; None: it is another error.

    Python has no number for a thread that does not start, nor for a library that is not loaded.
    """
    text = str(error)
    if isinstance(error, RuntimeError) and text == "can't start new thread":
        return UnavailableError("no more threads may be started here", to_do(errno.EAGAIN))
    if isinstance(error, ImportError) or text.startswith("IO Error"):
        for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            if os.strerror(number) in text or (number == errno.ENOMEM and "failed to map segment" in text):
                return UnavailableError(show(text.partition("\n")[0]), to_do(number))
    return None


def to_do(number: int | None) -> str:
    """What helps against an error of the system, by its number; "" where that is not known."""
    return _TO_DO.get(number or 0, "")


DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ESTALE)
"""Numbers of the errors that a disk gives, or a limit on what is written, whatever is written there."""

_LESS_MEMORY = (
    "give it more (slurm.mem, ulimit -v); or, where clips are scored, fewer at once (extract.workers)"
)
_TO_DO = {
    errno.ENOSPC: "free space (df -h), or inodes (df -i)",
    errno.EDQUOT: "free space within the quota",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or of the file system",
    errno.EISDIR: "move the folder away that stands there",
    errno.ELOOP: "remove the link that stands there",
    errno.EROFS: "use a folder that can be written",
    errno.EACCES: "make it accessible to this user",
    errno.EPERM: "make it accessible to this user",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "wait until other programs on this machine have closed their files",
    errno.EAGAIN: "raise the limit of processes and threads (ulimit -u), or end other programs of yours",
    errno.ENOMEM: _LESS_MEMORY,
    errno.ENOENT: "was it removed meanwhile? run the same command again",
    errno.EIO: "the disk, or the server of the file system, fails: look at the kernel's log",
    errno.ESTALE: "the server of the file system has lost it: run the same command again",
}


def reason(error: Exception) -> str:
    """Why a file cannot be used, in a line for a terminal, without its name."""
    return show((isinstance(error, OSError) and error.strerror) or str(error).partition("\n")[0])


def show(text: str | bytes) -> str:
    r"""Escape a name for one line of a terminal: control characters and invalid UTF-8 as \x...

    Parameters
    ----------
    text
        A name as the file system gave it; undecodable bytes as surrogates (PEP 383).

    Returns
    -------
    str
        Printable text, no line break, no terminal control sequence.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: the raw byte
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
