"""Two clusters behind one login node: each has its own controller, and counts its own jobs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pytest
from real_site import THREE_ELEMENTS, Site, setting
from real_slurm import wait_until

pytestmark = pytest.mark.cluster(accounting=True)

SECOND = setting("slurm.cluster", "second")
ONE_JOB = (*setting("slurm.max_jobs", 3), *setting("slurm.rounds", 1))
LATER = ("--set", 'slurm.extra={ begin = "now+1hour" }')


def jobs_of(site: Site, run: str, cluster: str) -> Sequence[str]:
    """Jobs of a run in a cluster's queue."""
    said = site.command("squeue", f"--clusters={cluster}", "--all", "--noheader", "--format=%A|%j")
    rows = [line.split("|") for line in said.splitlines() if "|" in line]
    return [job for job, name in rows if name.startswith(f"vmafarm-{run}-")]


def test_a_run_on_another_cluster_is_seen_by_every_verb(site: Site, expected: bytes) -> None:
    site.vmafarm("submit", "named", *SECOND, *THREE_ELEMENTS)
    assert not jobs_of(site, "named", "vmafarm")
    wait_until(lambda: not jobs_of(site, "named", "second"), 400, "the queue of the second cluster is empty")
    assert site.table("named").read_bytes() == expected
    status = site.look("named")
    assert status["merge"]["job"].endswith("@second")
    assert status["merge"]["state"] == "COMPLETED", "by that cluster's accounting"
    assert {one.job.partition("@")[2] for one in site.elements("named")} == {"second"}
    assert {one.node for one in site.elements("named")} == {"other1"}
    said = site.vmafarm("logs", "named", "0")
    assert "@second" in said
    assert "@second_0_0_log.err" in "".join(said.split())
    assert json.loads(site.vmafarm("efficiency", "named", "--json"))["submissions"]


def test_jobs_on_two_clusters_are_told_apart_and_cancelled_where_they_are(site: Site) -> None:
    site.vmafarm("submit", "twice", *SECOND, *ONE_JOB, *LATER)
    own = {f"{job}@second" for job in jobs_of(site, "twice", "second")}
    site.vmafarm("submit", "other", *ONE_JOB, *LATER)  # another run, whose jobs may have the same numbers
    left = jobs_of(site, "other", "vmafarm")
    said = site.vmafarm("retry", "twice", *setting("slurm.cluster", "vmafarm"), *ONE_JOB, status=2)
    assert "has jobs on the cluster second: " in " ".join(said.split())
    assert set(re.findall(r"\d+@second", said)) == own
    assert {job for reason in site.look("twice")["pending"] for job in reason["jobs"]} == own
    said = site.vmafarm("cancel", "twice")
    assert set(re.findall(r"\d+@second", said)) == own
    wait_until(lambda: not jobs_of(site, "twice", "second"), 60, "its jobs are gone")
    assert jobs_of(site, "other", "vmafarm") == left
    site.vmafarm("cancel", "other")


def test_a_cluster_that_does_not_exist_is_one_message(site: Site) -> None:
    said = site.vmafarm("submit", "nowhere", *setting("slurm.cluster", "elsewhere"), status=3)
    assert "elsewhere" in said
