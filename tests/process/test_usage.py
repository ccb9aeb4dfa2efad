"""What a process uses, measured from inside."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from vmafarm.process import usage as module
from vmafarm.process.gpus import GpuSample
from vmafarm.process.memory import job_group
from vmafarm.process.usage import Usage, UsageMeter

_MIB = 1 << 20


def write_group(root: Path, line: str, folder: str, **files: str) -> Path:
    """Control group of this process in a folder that contains proc and sys."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"{line}\n")
    place = root / "sys/fs/cgroup" / folder
    place.mkdir(parents=True)
    for name, text in files.items():
        (place / name.replace("__", ".")).write_text(text)
    return place


def version_2(root: Path, anon: int = 5, job: str = "99") -> Path:
    job_folder = f"system.slice/slurmstepd.scope/job_{job}"
    return write_group(
        root, f"0::/{job_folder}/step_0/user/task_0", job_folder,
        memory__stat=f"anon {anon}\nfile 900\nshmem 2\n", memory__peak="1000\n",
    )  # fmt: skip


def test_the_memory_of_a_job_is_that_of_its_own_control_group(tmp_path: Path) -> None:
    version_2(tmp_path)
    group = job_group("99", tmp_path)
    assert group is not None
    assert (group.held_bytes(), group.peak_bytes()) == (7, 1000)
    assert job_group("9", tmp_path) is None
    assert job_group("99", tmp_path / "nothing") is None


def test_version_1_of_control_groups_has_other_names(tmp_path: Path) -> None:
    write_group(
        tmp_path, "4:memory:/slurm/uid_1/job_99/step_0/task_0", "memory/slurm/uid_1/job_99",
        memory__stat="rss 1\ntotal_rss 8\ntotal_shmem 3\n", memory__max_usage_in_bytes="400\n",
    )  # fmt: skip
    group = job_group("99", tmp_path)
    assert group is not None
    assert (group.held_bytes(), group.peak_bytes()) == (11, 400)


def test_a_group_that_does_not_account_for_memory_is_none(tmp_path: Path) -> None:
    (version_2(tmp_path) / "memory.stat").unlink()
    assert job_group("99", tmp_path) is None


def wait_for(condition: Any) -> None:
    ends_at = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def test_a_meter_keeps_the_highest_look_and_the_peak_of_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.01)
    stat = version_2(tmp_path) / "memory.stat"
    meter = UsageMeter("99", root=tmp_path)
    stat.write_text("anon 600\nshmem 1\n")
    wait_for(lambda: meter._memory == 601)
    stat.write_text("anon 3\nshmem 1\n")
    used = meter.end()
    assert (used.memory, used.memory_from, used.memory_with_files) == (601, "cgroup", 1000)


def test_without_a_group_the_memory_of_all_processes_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.01)
    meter = UsageMeter("")
    large = "import sys; held = bytearray(b'x') * (300 << 20); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", large], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        wait_for(lambda: meter._memory > 300 * _MIB)
        child.communicate()
    used = meter.end()
    assert (used.memory_from, used.memory_with_files) == ("processes", 0)
    assert used.memory > 300 * _MIB
    assert used.total_cpu_seconds > 0


class Gpus:
    """Two GPUs, of which one does not say how busy it is; each look finds other figures."""

    def __init__(self, names: Sequence[str]) -> None:
        assert names == ["0", "1"]
        self.looks = iter([(0.2, 5), (0.6, 9), (0.1, 7)])
        self.count = 0

    def samples(self) -> list[GpuSample]:
        busy, used = next(self.looks, (0.3, 1))
        self.count += 1
        return [GpuSample(busy, used, 80), GpuSample(None, 2, 40)]


def test_gpus_are_busy_on_average_and_their_memory_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.01)
    opened: list[Gpus] = []

    def open_gpus(names: Sequence[str]) -> Any:
        opened.append(Gpus(names))
        return opened[0]

    meter = UsageMeter("", ["0", "1"], open_gpus)
    wait_for(lambda: opened and opened[0].count >= 3)
    used = meter.end()
    looks = opened[0].count
    assert used.gpu_busy == pytest.approx((0.9 + 0.3 * (looks - 3)) / looks, abs=1e-4)
    assert (used.gpus, used.gpu_memory, used.gpu_memory_total) == (2, 9, 80)


def test_a_driver_that_never_answers_delays_nothing_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAIT_SECONDS", 0.05)
    meter = UsageMeter("", ["0"], lambda names: time.sleep(2) or Gpus(["0", "1"]))
    began = time.monotonic()
    used = meter.end()
    assert time.monotonic() - began < 1.5
    assert (used.gpus, used.memory > 0) == (0, True)


def test_a_meter_without_a_thread_has_the_last_look(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module.threading.Thread, "start", refuse)
    used = UsageMeter("").end()
    assert isinstance(used, Usage)
    assert used.memory > _MIB
