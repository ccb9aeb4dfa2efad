"""What tells a process from one that gets the same number later, or has it on another machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vmafarm.disk.jsonl import Count, Size, Word

_STARTED = 19
"""Position of the start time behind the name of the program, in /proc/<pid>/stat (proc(5))."""


@dataclass(frozen=True)
class Identity:
    """One process.

    Attributes
    ----------
    process
        Its number.
    started
        When it began, in ticks since the kernel did.
    kernel
        Random identifier of the running kernel, which changes when the machine starts; "": not known.
    namespace
        In which its number counts: containers have their own (pid_namespaces(7)); "": not known.
    """

    process: Count
    started: Size
    kernel: Word
    namespace: Word


def own_identity() -> Identity:
    """Identity of this process."""
    return Identity(os.getpid(), _stat(os.getpid())[1], _kernel(), _namespace())


def is_visible(identity: Identity) -> bool:
    """Whether the process would be seen here if it were alive: same kernel, same container."""
    return bool(identity.kernel) and (identity.kernel, identity.namespace) == (_kernel(), _namespace())


def owner_of(identity: Identity) -> int | None:
    """User of a process that is alive; None: it has ended, or its number is another one's now."""
    state, started = _stat(identity.process)
    if state in "ZX" or started != identity.started:
        return None
    try:
        return Path(f"/proc/{identity.process}").stat().st_uid
    except OSError:
        return None


def _stat(process: int) -> tuple[str, int]:
    """State and start of a process; "X" and -1 where there is none."""
    try:
        fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
        return fields[0].decode(), int(fields[_STARTED])
    except (OSError, ValueError, IndexError):
        return "X", -1


def _kernel() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
