"""Runs that users and schedulers disturb; each gives the bytes of an undisturbed run on this machine."""

from __future__ import annotations

import signal

import pytest
from real_site import CLIPS, THREE_ELEMENTS, Queued, Site, setting
from real_slurm import SLICES, Facts, signal_element, wait_until


def requeue(site: Site, element: Queued) -> None:
    site.command("scontrol", "requeue", element.job)


def scancel(site: Site, element: Queued) -> None:
    site.command("scancel", element.job)


def kill(site: Site, element: Queued) -> None:
    """What the kernel does where memory is short: no handler runs, nothing is said."""
    names = "python|ffmpeg|starter|squashfuse"
    assert len(signal_element(element.array, element.index, signal.SIGKILL, names)) >= 3


@pytest.mark.disturbed
@pytest.mark.parametrize("disturb", [requeue, scancel, kill])
def test_a_disturbed_element_changes_no_byte(site: Site, expected: bytes, disturb) -> None:
    run = disturb.__name__
    site.vmafarm("submit", run, *site.slowly(2))
    element = site.at_work(run, rows=1)
    disturb(site, element)
    wait_until(lambda: all(one != element for one in site.queued(run)), 60, "it has ended")
    status = site.look(run)
    assert 0 < status["done"] < CLIPS
    assert status["slices"]["pending"] > 0, "somebody will go on with its slice"

    assert site.wait_for_table(run) == expected
    began = [(one.job, one.index) for one in site.elements(run)]
    again = began.count((element.array, element.index))
    assert again == (2 if disturb is requeue else 1)
    assert disturb is requeue or {job for job, _ in began} > {element.array}, "the next round went on"


def test_two_runs_at_once_do_not_touch_each_other(site: Site, expected: bytes) -> None:
    site.vmafarm("submit", "one", *site.slowly(2))
    site.vmafarm("submit", "two")
    site.at_work("one")
    assert "cancelled" in site.vmafarm("cancel", "one")
    wait_until(lambda: not site.queued("one"), 60, "nothing of the cancelled run is left in the queue")
    assert not site.table("one").exists()
    status = site.look("one")
    assert status["missing"] > 0
    assert status["slices"]["running"] == status["slices"]["pending"] == 0
    site.vmafarm("retry", "one")
    assert site.wait_for_table("two") == expected
    assert site.wait_for_table("one") == expected


@pytest.mark.disturbed
def test_a_time_limit_that_is_too_short_is_continued_by_the_next_rounds(site: Site, expected: bytes) -> None:
    limits = (*setting("slurm.time", 1), *setting("slurm.rounds", 3), *setting("slurm.parallelism", 4))
    # Once for each clip: of small ones ffmpeg is started again, without cambi, which refuses the size.
    few = "case $SLURM_ARRAY_TASK_ID,$* in [012],*name=cambi*) sleep 10 ;; esac"
    site.vmafarm("submit", "short", *limits, *site.engine(few))
    first = site.at_work("short", rows=1).array
    wait_until(lambda: all(one.array != first for one in site.queued("short")), 180, "round 1 is over")
    status = site.look("short")
    assert 0 < status["missing"] < 15, "three of twelve elements had too little time"
    assert status["slices"]["running"] + status["slices"]["pending"] > 0, "later rounds are there for them"

    assert site.wait_for_table("short") == expected
    in_first = {one.index: one for one in site.elements("short") if one.job == first}
    assert all("not enough time" in in_first[index].message for index in range(3))
    assert all(one.done >= 2 for one in in_first.values()), "the time that there was has been used"


@pytest.mark.disturbed
def test_an_element_that_hangs_is_ended_by_its_time_limit_and_done_by_the_next_round(
    site: Site, expected: bytes, facts: Facts
) -> None:
    hang = f"if mkdir {site.folder}/hung; then sleep 600; fi"  # one element of the first round
    site.vmafarm("submit", "hangs", *setting("slurm.time", 1), *setting("slurm.setup", [hang]))
    first = site.running("hangs").array
    site.wait_for("hangs", lambda status: status["slices"]["done"] == SLICES - 1)
    assert site.look("hangs")["slices"]["running"] == 1
    assert site.wait_for_table("hangs") == expected
    if facts.accounting:
        assert "TIMEOUT" in site.states([first])


@pytest.mark.disturbed
@pytest.mark.alone
def test_an_element_that_is_pre_empted_goes_on_later(site: Site, expected: bytes, facts: Facts) -> None:
    whole = (*setting("slurm.cpus", 2), *THREE_ELEMENTS)
    site.vmafarm("submit", "low", *setting("slurm.partition", "low"), *whole, *site.slowly(2))
    element = site.at_work("low", rows=1)
    urgent = ("--partition=high", f"--nodelist={element.node}", "--cpus-per-task=2", "--output=/dev/null")
    site.command("sbatch", *urgent, "--job-name=urgent", "--wrap=sleep 5")
    wait_until(lambda: all(one != element for one in site.queued("low")), 90, "it was pre-empted")
    assert site.look("low")["missing"] > 0

    assert site.wait_for_table("low") == expected
    first, *_ = (
        one for one in site.elements("low") if (one.job, one.index) == (element.array, element.index)
    )
    assert first.done < first.clips == 20
    if facts.accounting:
        assert "PREEMPTED" in site.states([element.job])
