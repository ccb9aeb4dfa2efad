"""How a child process is held to what it may take."""

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
    """What one child process may take, in bytes; 0: no limit.

    Attributes
    ----------
    address_space
        Allocations beyond it fail.
    resident
        It is killed when it and its children have more than this.
    file_size
        Of any file that it writes; beyond it is killed (SIGXFSZ), or gets an error if it wants one.
    log, log_size
        File that is looked at while it runs: it is killed when that has more than this.
    """

    address_space: int = 0
    resident: int = 0
    file_size: int = 0
    log: Path = Path()
    log_size: int = 0

    @property
    def is_watched(self) -> bool:
        """Whether somebody must look, because the kernel does not."""
        return bool(self.resident or self.log_size)

    def broken_by(self, pid: int) -> Excess | None:
        """What a running process has too much of."""
        if self.resident and (size := resident_bytes(pid)) > self.resident:
            return Excess("memory", show_bytes(size))
        if self.log_size and (size := _size(self.log)) > self.log_size:
            return Excess("log", show_bytes(size))
        return None

    def calls(self) -> list[Callable[[], object]]:
        """What a child calls between fork and exec to be held to it; it leaves no core file either.

        C alone, see `vmafarm.process.run`. The address space comes last: from then on allocations may fail.
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
    """A size for a message: ``512 MB``, ``4.0 GB``."""
    return f"{size / (1 << 30):.1f} GB" if size >= 1 << 30 else f"{-(-size // (1 << 20))} MB"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; 0 once it has ended."""
    total, todo = 0, [pid]
    while todo:
        # Text, not Path, whose making takes longer than the reading: this runs while every clip is scored.
        folder = f"/proc/{todo.pop()}"
        try:
            total += int(_read(f"{folder}/statm").split()[1]) * _PAGE
            for thread in os.listdir(f"{folder}/task"):  # noqa: PTH208 - names are enough
                todo += map(int, _read(f"{folder}/task/{thread}/children").split())
        except (OSError, IndexError):
            continue  # ended meanwhile, or a kernel that does not list children
    return total


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        return file.read()
