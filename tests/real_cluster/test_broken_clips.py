"""A corpus with broken clips comes to its end by itself, and the clips are tried on two nodes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from real_site import NAMES, Site, setting
from real_slurm import as_user, give_to_user, wait_until
from support.command import write_scores

from vmafarm.run_folder.failures import read_failures

GOOD, BROKEN = NAMES[:35], [f"orig_{number}_540_5s.mp4" for number in range(900, 905)]


@pytest.fixture
def corpus(site: Site, shared: Path) -> tuple[str, ...]:
    """Options for 40 clips, of which five are broken, each in its own way."""
    clips = shared / "clips"
    clips.mkdir()
    for name in GOOD:
        (clips / name).write_bytes((site.folder / "clips" / name).read_bytes())
    whole = (site.folder / "clips" / NAMES[40]).read_bytes()
    broken = [b"", bytes(2000), whole[: len(whole) // 2], whole[:40], b"not a video" * 100]
    for name, content in zip(BROKEN, broken, strict=True):
        (clips / name).write_bytes(content)
    write_scores(shared / "scores.csv", [*GOOD, *BROKEN])
    give_to_user(shared)
    return "--clips", str(clips), "--scores", str(shared / "scores.csv")


@pytest.mark.alone  # four idle nodes
def test_forty_clips_of_which_five_are_broken_are_published_without_a_person(
    site: Site, corpus: tuple[str, ...]
) -> None:
    allowed = setting("merge.max_failed_share", 0.2)
    site.vmafarm("submit", "broken", *corpus, *allowed)
    wait_until(lambda: not site.queued("broken"), 400, "no job is left in the queue")
    site.vmafarm("run", "broken-here", *corpus, *allowed)
    assert site.table("broken").read_bytes() == site.table("broken-here").read_bytes()

    hosts: dict[str, set[str]] = {name: set() for name in BROKEN}
    for record in read_failures(site.run_folder("broken").failures):
        hosts[record.clip_name].add(record.host)
    assert all(len(seen) == 2 for seen in hosts.values()), hosts
    report = json.loads(site.run_folder("broken").merge_record.read_text())
    assert sorted(report["failed_for_good"]) == BROKEN
    (merge,) = [
        path for path in site.run_folder("broken").logs.glob("*.out") if "table  " in path.read_text()
    ]
    for name in BROKEN:
        assert f"  {name}: " in merge.read_text()
    assert "0 missing, 5 failed for good" in site.vmafarm("status", "broken", "--watch")


@pytest.mark.disturbed
def test_where_nothing_is_published_the_merge_job_fails_and_watching_ends_with_1(
    site: Site, corpus: tuple[str, ...]
) -> None:
    site.vmafarm("submit", "unpublished", *corpus)
    said = site.vmafarm("status", "unpublished", "--watch", "--every", "2", status=1)
    assert "nothing published:" in said
    assert "5 of 40 clips (12.500%) have failed for good, more than the 2" in " ".join(said.split())
    assert not site.table("unpublished").exists()
    merge = site.submissions("unpublished")[-1].merge_job
    state = as_user("scontrol", "show", "job", merge).stdout
    assert "JobState=FAILED" in state
    assert "ExitCode=1:0" in state
    # A flag is all that it takes.
    site.vmafarm("merge", "unpublished", "--max-failed-share", "0.2")
    assert "the table is there" in site.vmafarm("status", "unpublished", "--watch")
