"""How a child process is held to what it may take."""

from __future__ import annotations

import contextlib
import os
import resource
from dataclasses import dataclass
from pathlib import Path

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
    """

    address_space: int = 0
    resident: int = 0
    file_size: int = 0

    def put_on(self, pid: int) -> None:
        """Hold a process that has just started to what the kernel counts; it leaves no core file either.

        From outside, because nothing but C may run in a child between fork and exec.
        """
        wanted = {resource.RLIMIT_CORE: 0}
        if self.address_space:
            wanted[resource.RLIMIT_AS] = self.address_space
        if self.file_size:
            wanted[resource.RLIMIT_FSIZE] = self.file_size
        # It has ended already, or has become another user's, whom only the system limits.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            for kind, most in wanted.items():
                _, hard = resource.prlimit(pid, kind)
                if hard != resource.RLIM_INFINITY:
                    most = min(most, hard)
                resource.prlimit(pid, kind, (most, hard))


NO_CEILING = Ceiling()


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; 0 once it has ended."""
    total, todo = 0, [pid]
    while todo:
        folder = Path(f"/proc/{todo.pop()}")
        try:
            total += int((folder / "statm").read_bytes().split()[1]) * _PAGE
            for thread in os.listdir(folder / "task"):  # noqa: PTH208 - names are enough
                todo += map(int, (folder / "task" / thread / "children").read_bytes().split())
        except (OSError, IndexError):
            continue  # ended meanwhile, or a kernel that does not list children
    return total
