"""Sums and highest figures of elements, by numbers small enough to add up by hand."""

from __future__ import annotations

import pytest

from vmafarm.cost.efficiency import NOTHING, Asked, ElementUse, Peaks, Spent, add_up, clip_times, highest

ASKED = Asked(minutes=60, work_minutes=30, cpus=4, gpus=2, memory=0, workers=4)
USES = (
    ElementUse("ended", seconds=100, cpu_seconds=300, cpus=4, busy=3.5, work_seconds=90, memory=50,
               memory_from="cgroup", memory_with_files=70, gpus=2, gpu_busy=0.5, gpu_memory=7,
               gpu_memory_total=80, clips=10),
    ElementUse("ended", seconds=300, cpu_seconds=300, cpus=8, busy=9.0, work_seconds=59, memory=40,
               memory_from="cgroup", memory_with_files=90, gpus=2, gpu_busy=0.1, gpu_memory=9,
               gpu_memory_total=40, clips=5),
    ElementUse("killed", "TIMEOUT", seconds=400, cpus=4),
    ElementUse("killed", cpus=4),
    ElementUse("running", cpus=4),
    ElementUse("idle", seconds=10, cpu_seconds=2, cpus=4),
)  # fmt: skip


def test_sums_leave_out_what_is_not_known() -> None:
    spent = add_up(USES, ASKED)
    assert spent == Spent(
        {"ended": 2, "killed": 2, "running": 1, "idle": 1}, {"TIMEOUT": 1, "": 1}, without_time=1, clips=15,
        seconds=810, core_seconds=400 + 2400 + 1600 + 40, gpu_seconds=1620,
        cpu_seconds=602, cpu_of_core_seconds=400 + 2400 + 40,
    )  # fmt: skip
    assert spent.cpu_share == pytest.approx(602 / 2840)
    assert spent.plus(NOTHING) == spent
    twice = spent.plus(spent)
    assert (twice.elements["ended"], twice.killed["TIMEOUT"], twice.seconds, twice.cpu_share) == (
        4, 2, 1620, spent.cpu_share
    )  # fmt: skip


def test_the_busiest_element_is_one_that_worked_long_enough() -> None:
    assert highest(USES) == Peaks(
        400, 200, 50, "cgroup", 90, 3.5, gpu_busy=pytest.approx((0.5 * 100 + 0.1 * 300) / 400), gpu_memory=9,
        gpu_memory_total=40,
    )  # fmt: skip


def test_without_elements_nothing_is_known() -> None:
    assert add_up((), ASKED) == NOTHING
    assert NOTHING.cpu_share is None
    assert highest(()) == Peaks()
    assert clip_times([], []) is None


def test_a_clip_takes_decoding_and_scoring_together() -> None:
    times = clip_times([1.0, 0.0, 1.0], [1.0, 4.0, 3.0])  # 2, 4, 4
    assert (times.clips, times.median, times.decoding) == (3, 4.0, 0.2)
    assert clip_times(range(101), [0.0] * 101).p95 == 95
