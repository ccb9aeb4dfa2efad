"""Processes as the kernel shows them in /proc (proc(5))."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Stat(NamedTuple):
    """What ``stat`` says of a process: its name, ``R``, ``S``, ``Z``..., its parent, and its group."""

    name: str
    state: str
    parent: int
    group: int


def all_processes() -> Iterator[int]:
    """Process ids, zombies included."""
    yield from (int(name) for name in os.listdir("/proc") if name.isdigit())


def read_of(pid: int, file: str) -> bytes:
    """A file of a process; empty once it has ended, and of another user's."""
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except OSError:
        return b""


def stat_of(pid: int) -> Stat | None:
    """See `Stat`; None once it has ended and was reaped."""
    before, _, after = read_of(pid, "stat").decode(errors="replace").rpartition(") ")
    if not after:
        return None
    state, parent, group = after.split()[:3]
    return Stat(before.partition(" (")[2], state, int(parent), int(group))


def is_there(pid: int) -> bool:
    """Whether it lives, or is a zombie."""
    return os.path.exists(f"/proc/{pid}")


def is_alive(pid: int) -> bool:
    """Whether it lives; a zombie is dead."""
    found = stat_of(pid)
    return found is not None and found.state not in "ZX"


def children_of(parent: int) -> set[int]:
    """Children of a process, zombies included."""
    return {pid for pid in all_processes() if (found := stat_of(pid)) and found.parent == parent}


def alive_in_group(leader: int, seconds: float = 1.0) -> set[int]:
    """Processes of a group that are not dead within a second; whose parents are gone, others must reap."""
    until = time.monotonic() + seconds
    while True:
        stats = {pid: stat_of(pid) for pid in all_processes()}
        found = {
            pid for pid, stat in stats.items() if stat and stat.group == leader and stat.state not in "ZX"
        }
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.02)
