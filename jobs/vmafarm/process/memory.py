"""How much memory a new process can get here."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/")
_UNBOUNDED = 1 << 62


def grantable_bytes(root: Path = _ROOT) -> int:
    """Return how many bytes the kernel lets a new child process allocate; 0 if that is unknown.

    Usually there is no limit. It is the lower of two bounds: the limit on address space that children inherit
    (RLIMIT_AS, setrlimit(2)), and, if the kernel does not overcommit, what is left of CommitLimit
    (overcommit_memory = 2, proc(5)). Running fewer processes in parallel hardly changes either.

    Parameters
    ----------
    root
        Folder that contains proc and sys.
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
    """Return how many bytes of memory a new child process can use now; 0 if that is unknown.

    The minimum of `grantable_bytes`, the memory available on the machine (MemAvailable, proc(5)), and what is
    left in each control group of this process (memory.max; memory.limit_in_bytes in version 1; cgroups(7)).

    Parameters
    ----------
    root
        Folder that contains proc and sys.
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
            # In a container the path may be that of the host, and the container's own group the top one.
            for folder in (group, *group.parents):
                with suppress(OSError, ValueError, KeyError):
                    yield _left_by_group(mount / folder, *names)


def _left_by_group(folder: Path, limit: str, usage: str, inactive: str) -> int:
    most = int(_text(folder / limit))  # ValueError: "max"
    # The kernel drops inactive page cache before it enforces the limit.
    stat = dict(line.split() for line in _text(folder / "memory.stat").splitlines())
    return most - int(_text(folder / usage)) + int(stat[inactive])


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace")
