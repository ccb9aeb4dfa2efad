"""Limits on the memory and the files of a child process."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vmafarm.process.descendants import Limit
from vmafarm.process.finished import Excess

_SETRLIMIT = ctypes.PyDLL(None).setrlimit
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Ceiling:
    """Limits of one child process, in bytes; 0 means no limit.

    Attributes
    ----------
    address_space
        Address space; allocations beyond it fail.
    resident
        Resident memory of the process and its descendants; it is killed if they use more.
    file_size
        Size of any file that it writes; beyond it, SIGXFSZ kills the process, or the write fails if that is
        ignored.
    log, log_size
        A file that is watched while the process runs, and its largest size; beyond it, the process is killed.
    """

    address_space: int = 0
    resident: int = 0
    file_size: int = 0
    log: Path = Path()
    log_size: int = 0

    @property
    def is_watched(self) -> bool:
        """Whether a limit needs watching because the kernel does not enforce it."""
        return bool(self.resident or self.log_size)

    def broken_by(self, pid: int) -> Excess | None:
        """Return the limit that a running process exceeds, if any."""
        if self.resident and (size := resident_bytes(pid)) > self.resident:
            return Excess("memory", show_bytes(size))
        if self.log_size and (size := _size(self.log)) > self.log_size:
            return Excess("log", show_bytes(size))
        return None

    def calls(self) -> list[Callable[[], object]]:
        """Return the calls that a child makes between fork and exec to set its limits and disable core files.

        Only C functions, see `vmafarm.process.descendants.in_child`. The address space comes last, since
        allocations may fail from then on.
        """
        wanted = {resource.RLIMIT_CORE: 0}
        if self.file_size:
            wanted[resource.RLIMIT_FSIZE] = self.file_size
        if self.address_space:
            wanted[resource.RLIMIT_AS] = self.address_space
        calls: list[Callable[[], object]] = []
        for kind, most in wanted.items():
            _, hard = resource.getrlimit(kind)
            if hard != resource.RLIM_INFINITY:
                most = min(most, hard)
            limit = Limit(most, ctypes.c_ulong(hard).value)
            calls.append(partial(_SETRLIMIT, kind, ctypes.pointer(limit)))
        return calls


NO_CEILING = Ceiling()


def show_bytes(size: int) -> str:
    """Format a size for a message: ``512 MB``, ``4.0 GB``."""
    return f"{size / (1 << 30):.1f} GB" if size >= 1 << 30 else f"{-(-size // (1 << 20))} MB"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants; 0 once it has ended."""
    total, todo = 0, [pid]
    while todo:
        # Strings: creating a Path takes longer than the read, and this runs while every clip is scored.
        folder = f"/proc/{todo.pop()}"
        try:
            total += int(_read(f"{folder}/statm").split()[1]) * _PAGE
            for thread in os.listdir(f"{folder}/task"):  # noqa: PTH208 - names are enough
                todo += map(int, _read(f"{folder}/task/{thread}/children").split())
        except (OSError, IndexError):
            continue  # it has ended, or the kernel does not list children
    return total


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        return file.read()
