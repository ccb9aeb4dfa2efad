"""How much memory a new process could have here."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/")
_UNBOUNDED = 1 << 62


def grantable_bytes(root: Path = _ROOT) -> int:
    """Bytes of memory that the kernel would promise a new child process; 0 where that cannot be found out.

    Without a bound as a rule. It is the limit on address space that children inherit (RLIMIT_AS,
    setrlimit(2)), and what is left to promise where the kernel promises no more than there is
    (CommitLimit with overcommit_memory = 2, proc(5)). Fewer processes at once change neither much.

    Parameters
    ----------
    root
        Folder in which proc and sys are.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    bounds = [] if soft == resource.RLIM_INFINITY else [soft]
    try:
        if _text(root / "proc/sys/vm/overcommit_memory").strip() == "2":
            found = _meminfo(root)
            bounds.append(found["CommitLimit"] - found["Committed_AS"])
    except (OSError, KeyError, ValueError):
        return 0
    return max(0, min(bounds, default=_UNBOUNDED))


def spare_bytes(root: Path = _ROOT) -> int:
    """Bytes of memory that a new child process could have now; 0 where that cannot be found out.

    The least of `grantable_bytes`, what the machine has (MemAvailable, proc(5)), and what each control
    group above this process leaves (memory.max, or memory.limit_in_bytes of version 1; cgroups(7)).

    Parameters
    ----------
    root
        Folder in which proc and sys are.
    """
    try:
        available = _meminfo(root)["MemAvailable"]
    except (OSError, KeyError, ValueError):
        return 0
    return max(0, min(grantable_bytes(root), available, *_left_by_groups(root)))


def _meminfo(root: Path) -> dict[str, int]:
    lines = (line.split() for line in _text(root / "proc/meminfo").splitlines())
    return {words[0].rstrip(":"): int(words[1]) << 10 for words in lines if len(words) == 3}


def _left_by_groups(root: Path) -> Iterator[int]:
    with suppress(OSError):
        for line in _text(root / "proc/self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                mount = root / "sys/fs/cgroup/memory"
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            else:
                continue
            group = Path(path.lstrip("/"))
            # In a container the path may be the host's, and its own group the top one.
            for folder in (group, *group.parents):
                with suppress(OSError, ValueError, KeyError):
                    yield _left_by_group(mount / folder, *names)


def _left_by_group(folder: Path, limit: str, usage: str, inactive: str) -> int:
    most = int(_text(folder / limit))  # ValueError: "max"
    # Cached files that nobody uses are dropped before a limit hurts.
    stat = dict(line.split() for line in _text(folder / "memory.stat").splitlines())
    return most - int(_text(folder / usage)) + int(stat[inactive])


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace")
