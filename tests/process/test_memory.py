"""How much memory a new process can get: the minimum of all limits."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from vmafarm.process.memory import grantable_bytes, spare_bytes

GB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Root of a machine with 8 GB of free memory and no commit limit."""
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    write(
        tmp_path,
        {
            "proc/meminfo": "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\nHugePages_Total: 0\n"
            "CommitLimit: 12582912 kB\nCommitted_AS: 9437184 kB\n",
            "proc/sys/vm/overcommit_memory": "0\n",
            "proc/self/cgroup": "",
        },
    )
    return tmp_path


def write(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def group(folder: str, most: str, usage: int, inactive: int) -> dict[str, str]:
    return {
        f"{folder}/memory.max": f"{most}\n",
        f"{folder}/memory.current": f"{usage}\n",
        f"{folder}/memory.stat": f"anon 1\ninactive_file {inactive}\n",
    }


def old_group(folder: str, most: int, usage: int, inactive: int) -> dict[str, str]:
    return {
        f"{folder}/memory.limit_in_bytes": f"{most}\n",
        f"{folder}/memory.usage_in_bytes": f"{usage}\n",
        f"{folder}/memory.stat": f"inactive_file 7\ntotal_inactive_file {inactive}\n",
    }


def no_bound(root: Path) -> None:
    pass


def job(root: Path) -> None:
    write(root, {"proc/self/cgroup": "0::/slurm/job_1/step_0\n"})
    write(root, group("sys/fs/cgroup/slurm", "max", 9 * GB, 0))
    write(root, group("sys/fs/cgroup/slurm/job_1", str(4 * GB), 3 * GB, GB))
    write(root, group("sys/fs/cgroup/slurm/job_1/step_0", "max", 3 * GB, GB))


def container(root: Path) -> None:  # it sees the path of the host and the files of its own group
    write(root, {"proc/self/cgroup": "0::/docker/abc\n"})
    write(root, group("sys/fs/cgroup", str(4 * GB), GB, 0))


def old_job(root: Path) -> None:
    write(root, {"proc/self/cgroup": "9:cpu,cpuacct:/\n4:hugetlb,memory:/slurm/job_1\n"})
    write(root, old_group("sys/fs/cgroup/memory", 1 << 63, 12 * GB, 0))
    write(root, old_group("sys/fs/cgroup/memory/slurm/job_1", 4 * GB, 3 * GB, 2 * GB))


def strict(root: Path) -> None:
    write(root, {"proc/sys/vm/overcommit_memory": "2\n"})


def unknown(root: Path) -> None:
    (root / "proc/meminfo").unlink()


@pytest.mark.parametrize(
    ("bound", "spare"),
    [(no_bound, 8), (job, 2), (container, 3), (old_job, 3), (strict, 3), (unknown, 0)],
)
def test_the_lowest_limit_counts(machine: Path, bound: Callable[[Path], None], spare: int) -> None:
    bound(machine)
    assert spare_bytes(machine) == spare * GB
    assert grantable_bytes(machine) == 3 * GB if bound is strict else grantable_bytes(machine) > 1 << 60


def test_limit_on_address_space_counts(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (GB, resource.RLIM_INFINITY))
    assert spare_bytes(machine) == grantable_bytes(machine) == GB


def test_a_group_above_its_limit_leaves_no_memory(machine: Path) -> None:
    write(machine, {"proc/self/cgroup": "0::/\n", **group("sys/fs/cgroup", str(GB), 2 * GB, 0)})
    assert spare_bytes(machine) == 0


def test_this_machine_has_memory() -> None:
    assert 0 < spare_bytes() <= grantable_bytes()
