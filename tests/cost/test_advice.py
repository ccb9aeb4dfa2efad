"""What to ask for next time: the measured figure, the headroom, and when there is no recommendation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vmafarm.cost.advice import advise, memory_text, round_memory
from vmafarm.cost.efficiency import Advice, Asked, ElementUse

GIB = 1 << 30
ASKED = Asked(minutes=60, work_minutes=30, cpus=8, gpus=0, memory=16 * GIB, workers=8)
USE = ElementUse(
    "ended", seconds=1800, cpu_seconds=7200, cpus=8, busy=4.0, work_seconds=1700, memory=5 * GIB,
    memory_from="cgroup", clips=100,
)  # fmt: skip
KILLED = ElementUse("killed", cpus=8)


def advice(key: str, *uses: ElementUse, asked: Asked = ASKED) -> Advice | None:
    return next((one for one in advise(asked, uses) if one.key == key), None)


def test_memory_is_that_of_the_largest_element_and_a_quarter_more() -> None:
    found = advice("slurm.mem", USE, replace(USE, memory=2 * GIB))
    assert found == Advice("slurm.mem", "16GB", "7GB", "5.0 GB at most, plus 25%")  # 6.25 GiB, rounded up


def test_more_memory_is_asked_for_where_it_was_hardly_enough() -> None:
    assert advice("slurm.mem", replace(USE, memory=15 * GIB)).next == "19GB"  # 18.75


def test_an_element_that_ran_out_of_memory_asks_for_half_as_much_again() -> None:
    found = advice("slurm.mem", USE, replace(KILLED, end="OUT_OF_MEMORY"))
    assert (found.next, found.why) == ("24GB", "1 element ran out of memory with 16GB: half as much again")


@pytest.mark.parametrize(
    ("uses", "why"),
    [
        ((replace(USE, memory=0),), "no element has measured its memory"),
        ((USE, KILLED, KILLED), "2 elements were killed, perhaps for lack of memory; "
         "5.0 GB at most, plus 25% would be less"),
        ((replace(USE, short_of_memory=3),), "3 clips failed for lack of memory (out_of_memory)"),
    ],
)  # fmt: skip
def test_memory_is_not_lowered_by_what_does_not_show_that_it_suffices(uses, why) -> None:
    found = advice("slurm.mem", *uses)
    assert (found.next, found.why) == ("", why)


def test_elements_killed_for_a_known_reason_do_not_keep_memory_up() -> None:
    assert advice("slurm.mem", USE, replace(KILLED, end="NODE_FAIL")).next == "7GB"


def test_processors_are_those_of_the_busiest_element_and_a_tenth_more() -> None:
    found = advice("slurm.cpus", USE, replace(USE, busy=3.0), replace(USE, busy=7.9, work_seconds=59))
    assert found == Advice("slurm.cpus", "8", "5", "4.0 busy in the busiest element, plus 10%")  # 4.4
    workers = advice("extract.workers", USE)
    assert (workers.asked, workers.next) == ("8", "8")


@pytest.mark.parametrize(("busy", "following"), [(7.4, "8"), (8.2, "8"), (11.0, "10"), (13.2, "12")])
def test_processors_stay_unless_more_than_all_of_them_were_busy(busy, following) -> None:
    assert advice("slurm.cpus", replace(USE, busy=busy)).next == following
    assert advice("extract.workers", replace(USE, busy=busy)) is None


def test_too_little_work_says_nothing_about_processors() -> None:
    found = advice("slurm.cpus", replace(USE, work_seconds=59))
    assert (found.next, found.why) == ("", "no element has measured 60 s of work")


def test_time_is_that_of_the_longest_element_and_half_more() -> None:
    found = advice("slurm.time", USE, replace(USE, seconds=2040))  # 34 min; 51
    assert found == Advice("slurm.time", "60", "55", "longest element 34m 00s, plus 50%")


def test_time_is_not_below_the_work_that_an_element_may_be_given() -> None:
    found = advice("slurm.time", replace(USE, seconds=60))
    assert (found.next, found.why) == ("45", "slurm.minutes 30, plus 50%; longest element 1m 00s")
    short = replace(ASKED, minutes=20)
    assert advice("slurm.time", replace(USE, seconds=60), asked=short).next == "20"


def test_an_element_that_ran_out_of_time_asks_for_twice_as_much() -> None:
    found = advice("slurm.time", USE, replace(USE, out_of_time=True))
    assert found.next == "120"
    assert found.why == "1 element ran out of time within 60 min: twice as much, or a lower slurm.minutes"


@pytest.mark.parametrize(
    ("asked", "uses", "why"),
    [
        (replace(ASKED, canary=True), (USE,), "a canary is shorter than the elements after it"),
        (ASKED, (KILLED,), "no element has measured its time"),
        (ASKED, (USE, KILLED), "1 element was killed, perhaps for lack of time"),
    ],
)
def test_time_is_not_lowered_by_what_does_not_show_that_it_suffices(asked, uses, why) -> None:
    found = advice("slurm.time", *uses, asked=asked)
    assert (found.next, found.why) == ("", why)


def test_gpus_are_the_busy_ones_and_a_quarter_more() -> None:
    asked = replace(ASKED, gpus=4, uses_gpus=True)
    use = replace(USE, gpus=4, gpu_busy=0.3, gpu_memory=GIB, gpu_memory_total=80 * GIB)
    found = advice("slurm.gpus", use, asked=asked)
    assert found == Advice("slurm.gpus", "4", "2", "busy 30% of the time, plus 25%")  # 1.5
    assert advice("slurm.gpus", replace(use, gpu_busy=0.01), asked=asked).next == "1"
    assert advice("slurm.gpus", replace(use, gpu_busy=1.0), asked=asked).next == "4"
    assert advice("slurm.gpus", USE, asked=asked).why == "no element has measured its GPUs"


def test_no_gpus_are_asked_for_where_the_engine_uses_none() -> None:
    found = advice("slurm.gpus", USE, asked=replace(ASKED, gpus=1, gres=True))
    assert (found.next, found.why) == ("0", "the engine computes on the CPU (in slurm.gres)")
    assert advice("slurm.gpus", USE) is None


def test_sizes_are_those_that_slurm_accepts() -> None:
    assert [memory_text(round_memory(size)) for size in (1, GIB // 4 + 1, GIB, GIB + 1)] == [
        "256MB", "512MB", "1GB", "2GB"
    ]  # fmt: skip
