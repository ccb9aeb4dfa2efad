"""Whole runs on a real SLURM, each element inside the real image, disturbed as users and schedulers do."""

from __future__ import annotations

import pytest
from real_site import CLIPS, Site
from real_slurm import SLICES, Facts, wait_until


def test_make_submit_on_four_nodes_gives_the_bytes_of_a_run_here(site: Site, expected: bytes) -> None:
    said = site.make("submit", "plain")
    assert f"submitted {SLICES} slices" in said
    most = 0

    def is_over() -> bool:
        nonlocal most
        queued = site.queued("plain")
        most = max(most, sum(one.runs for one in queued))
        return not queued

    wait_until(is_over, 300, "the queue is empty")
    assert 1 <= most <= 3  # slurm.parallelism
    assert site.table("plain").read_bytes() == expected
    assert f"{CLIPS} of {CLIPS} done (100.0%), 0 missing" in site.make("status", "plain")


@pytest.mark.parametrize("how", ["requeue", "scancel", "kill"])
def test_a_disturbed_element_changes_no_byte(site: Site, expected: bytes, how: str) -> None:
    site.vmafarm("submit", how, *site.slowly(2))
    element = site.running(how)[0].job
    site.wait_for(how, lambda status: status["done"])
    words = {
        "requeue": ("scontrol", "requeue"),
        "scancel": ("scancel",),
        "kill": ("scancel", "--signal=KILL"),
    }[how]
    site.command(*words, element)
    assert site.wait_for_table(how) == expected


def test_two_runs_at_once_do_not_touch_each_other(site: Site, expected: bytes) -> None:
    site.vmafarm("submit", "one", *site.slowly(2))
    site.vmafarm("submit", "two")
    site.running("one")
    assert "cancelled" in site.vmafarm("cancel", "one")
    wait_until(lambda: not site.queued("one"), 60, "nothing of the cancelled run is left in the queue")
    assert not site.table("one").exists()
    site.vmafarm("retry", "one")
    assert site.wait_for_table("two") == expected
    assert site.wait_for_table("one") == expected


def test_a_time_limit_that_is_too_short_is_continued_by_the_next_rounds(
    site: Site, expected: bytes, facts: Facts
) -> None:
    limits = ("--set", "slurm.time=1", "--set", "slurm.rounds=3", "--set", f"slurm.parallelism={SLICES}")
    site.vmafarm("submit", "short", *limits, *site.slowly(10))
    site.wait_for("short", lambda status: status["done"] >= SLICES)
    first = site.running("short")[0].job.partition("_")[0]
    wait_until(
        lambda: all(not one.job.startswith(first) for one in site.queued("short")), 90, "round 1 is over"
    )
    status = site.look("short")
    assert 0 < status["done"] < CLIPS
    assert status["slices"]["missing"] == 0, "later rounds are there for them"
    assert site.wait_for_table("short") == expected


def test_an_element_that_hangs_is_ended_by_its_time_limit_and_done_by_the_next_round(
    site: Site, expected: bytes, facts: Facts
) -> None:
    hang = f"if mkdir {site.folder}/hung; then sleep 600; fi"  # one element of the first round
    site.vmafarm("submit", "hangs", "--set", "slurm.time=1", "--set", f"slurm.setup=[{hang!r}]")
    site.wait_for("hangs", lambda status: status["slices"]["done"] == SLICES - 1)
    assert site.wait_for_table("hangs") == expected
    if facts.accounting:
        assert "TIMEOUT" in site.look("hangs")["elements"]
