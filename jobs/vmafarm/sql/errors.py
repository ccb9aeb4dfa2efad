"""Errors of DuckDB that are not the fault of a query or file: interrupts, disk, memory, limits."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import duckdb

from vmafarm.common.errors import DISK, UnavailableError, show, to_do
from vmafarm.process.scratch import scratch_error

_NUMBERS = {os.strerror(number): number for number in DISK}
_LIMITS = {os.strerror(number): number for number in (errno.EMFILE, errno.ENFILE)}

_REFUSED = "bad allocation"
"""DuckDB's message if the system runs out of memory before DuckDB's own limit is reached."""


def is_outside(error: BaseException) -> bool:
    """Whether an error of DuckDB, or of pyarrow reading from it, has one of these causes."""
    return _is_interrupt(error) or _is_memory(error) or _system(error) is not None


def explain_outside(
    error: BaseException, memory: str, scratch: Path
) -> KeyboardInterrupt | UnavailableError | None:
    """Convert such an error.

    Parameters
    ----------
    error
        As it was raised.
    memory
        DuckDB's limit.
    scratch
        The scratch folder (`vmafarm.process.scratch.scratch_folder`) to which DuckDB spills.

    Returns
    -------
    KeyboardInterrupt or UnavailableError or None
        None: another kind of error.
    """
    if _is_interrupt(error):
        return KeyboardInterrupt()
    line = show(str(error).partition("\n")[0])
    if _is_memory(error) and _REFUSED in line:
        return UnavailableError(f"no memory is left: {line}", to_do(errno.ENOMEM))
    if _is_memory(error):
        place = show(str(scratch.parent))
        return UnavailableError(
            f"more than merge.memory = {memory} is needed, or more disk in {place}: {line}",
            "raise merge.memory, or choose a larger extract.scratch, then run the same command again",
        )
    number = _system(error)
    if number is None:
        return None
    if str(scratch) in str(error):
        return scratch_error(scratch, number, os.strerror(number))
    return UnavailableError(line, f"{to_do(number)}, then run the same command again")


def _is_interrupt(error: BaseException) -> bool:
    text = str(error)
    return (
        isinstance(error, duckdb.InterruptException)
        or (isinstance(error, RuntimeError) and text == "Query interrupted")  # raised on a signal
        or (_is_told_by_arrow(error) and text.startswith("INTERRUPT Error"))
    )


def _is_memory(error: BaseException) -> bool:
    return isinstance(error, duckdb.OutOfMemoryException) or (
        _is_told_by_arrow(error) and str(error).startswith("Out of Memory Error")
    )


def _system(error: BaseException) -> int | None:
    """Return the system's error number; DuckDB gives only its text, in errors of several kinds."""
    text = str(error)
    if not (isinstance(error, duckdb.Error) or _is_told_by_arrow(error)):
        return None
    known = (_NUMBERS if "Could not " in text else {}) | (_LIMITS if "Cannot open file" in text else {})
    return next((number for words, number in known.items() if words in text), None)


def _is_told_by_arrow(error: BaseException) -> bool:
    # Streams of batches raise OSError with DuckDB's message and no number.
    return isinstance(error, OSError) and error.errno is None
