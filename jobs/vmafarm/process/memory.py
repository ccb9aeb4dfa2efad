"""How much memory a new process can get here, and how much a job has taken."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
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


@dataclass(frozen=True)
class JobGroup:
    """The control group of a SLURM job, which holds this process and everything that the job started.

    Attributes
    ----------
    folder
        Where the kernel shows it.
    held
        Entries of memory.stat for memory that the kernel cannot drop.
    peak
        File with the most that it was charged, page cache included.
    """

    folder: Path
    held: tuple[str, ...]
    peak: str

    def held_bytes(self) -> int:
        """Anonymous and shared memory that it has now, in bytes; 0 if that is unknown."""
        with suppress(OSError, ValueError):
            stat = dict(line.split() for line in _text(self.folder / "memory.stat").splitlines())
            return sum(int(stat.get(name, 0)) for name in self.held)
        return 0

    def peak_bytes(self) -> int:
        """Most bytes that it was charged; 0 if that is unknown, as before Linux 5.19 in version 2."""
        with suppress(OSError, ValueError):
            return int(_text(self.folder / self.peak))
        return 0


def job_group(job: str, root: Path = _ROOT) -> JobGroup | None:
    """Return the control group of a SLURM job that accounts for its memory; None: it has none.

    Parameters
    ----------
    job
        Its id, SLURM_JOB_ID.
    root
        Folder that contains proc and sys.
    """
    with suppress(OSError, ValueError):
        for line in _text(root / "proc/self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            parts = Path(path.lstrip("/")).parts
            if f"job_{job}" not in parts:
                continue
            own = Path(*parts[: parts.index(f"job_{job}") + 1])
            if controllers == "":
                group = JobGroup(root / "sys/fs/cgroup" / own, ("anon", "shmem"), "memory.peak")
            elif "memory" in controllers.split(","):
                folder = root / "sys/fs/cgroup/memory" / own
                group = JobGroup(folder, ("total_rss", "total_shmem"), "memory.max_usage_in_bytes")
            else:
                continue
            if group.held_bytes():
                return group
    return None


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
