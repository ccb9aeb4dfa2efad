"""Whole runs on a real SLURM, each element inside the real image."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from real_site import CLIPS, THREE_ELEMENTS, Site, setting
from real_slurm import CHECKOUT, SLICES, as_user, give_to_user, wait_until
from support.command import write_scores


def logs_of(site: Site, run: str) -> str:
    """What elements and what starts them say."""
    return "".join(path.read_text() for path in site.run_folder(run).logs.glob("*.err"))


@pytest.mark.disturbed
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
    folder = site.run_folder("plain")
    checks = json.loads(folder.merge_record.read_text())["qa"]
    assert not [name for name, found in checks.items() if found["severity"] == "error" and found["count"]]
    assert f"{CLIPS} of {CLIPS} clips" in folder.report.read_text()


def test_the_canary_runs_first_and_its_measure_lays_out_the_rest(site: Site, expected: bytes) -> None:
    said = site.vmafarm("submit", "canary", "--canary", "6")
    assert re.search(r"canary: 6 clips on node\d", said)
    assert "measured         6 clips in SLURM jobs" in said
    assert f"missing: {CLIPS - 6} clips" in said
    assert f"submitted {SLICES} slices in 3 elements" in said
    assert site.look("canary")["done"] >= 6
    assert site.wait_for_table("canary") == expected
    canary = site.elements("canary")[0]
    assert (canary.done, canary.exit_code) == (6, 0)
    log = (site.run_folder("canary").logs / f"{canary.job}_0_log.out").read_text()
    assert "scratch" in log, "doctor has looked at the node"


def test_a_canary_that_fails_says_so_and_nothing_else_goes_out(site: Site) -> None:
    # On nodes only: what is broken here as well is found before anything is queued.
    broken = site.engine('[ -z "$SLURMD_NODENAME" ] || exit 1', always=True)
    said = site.vmafarm("submit", "sick", "--canary", "2", *broken, status=1)
    assert "the canary failed on node" in said
    assert "its log: " in said
    assert site.look("sick")["done"] == 0
    wait_until(lambda: not site.queued("sick"), 30, "nothing of it is in the queue")


@pytest.mark.parametrize("usable", [True, False], ids=["usable", "unwritable"])
def test_the_image_is_copied_to_a_node_once_or_used_where_it_lies(
    site: Site, expected: bytes, shared: Path, usable: bool
) -> None:
    shared.chmod(0o755 if usable else 0o555)
    run = f"stage-{usable}"
    stage = (*setting("slurm.stage", "yes"), *setting("slurm.stage_folder", str(shared)))
    site.vmafarm("submit", run, *stage, *THREE_ELEMENTS)
    assert site.wait_for_table(run) == expected
    said = logs_of(site, run)
    assert said.count("copied the image to") == (1 if usable else 0)
    assert ("starting the shared image" in said) == (not usable)
    assert len(list(shared.glob("vmafarm-*/*.sif"))) == (1 if usable else 0)


def test_a_corpus_in_a_squashfs_image_gives_the_same_bytes(site: Site, expected: bytes) -> None:
    image = site.folder / "corpus.sqsh"
    subprocess.run(["mksquashfs", site.folder / "clips", image, "-quiet", "-no-progress"], check=True)
    site.vmafarm("submit", "squashfs", "--clips", str(image), *THREE_ELEMENTS)
    assert site.wait_for_table("squashfs") == expected


def test_jobs_that_no_submission_recorded_are_reported_and_can_be_cancelled(
    site: Site, expected: bytes, shared: Path
) -> None:
    sbatch = shared / "sbatch"
    sbatch.write_text('#!/bin/sh\n/usr/bin/sbatch "$@"\nkill -9 $PPID\n')
    sbatch.chmod(0o755)
    later = ("--set", 'slurm.extra={begin="now+1hour"}')  # else it would score clips until it is cancelled
    vmafarm = [CHECKOUT / ".venv/bin/vmafarm", "submit", "--config", site.config, "--run", "orphan", *later]
    died = as_user(*vmafarm, cwd=site.folder, environment={"PATH": f"{shared}:/usr/bin:/bin"})
    assert died.returncode in (137, -9), died.stderr  # runuser's, or its own
    orphan = {one.job.partition("_")[0] for one in site.queued("orphan")}
    assert len(orphan) == 1
    assert f"jobs that no submission recorded: {orphan.pop()}; vmafarm cancel" in " ".join(
        site.vmafarm("status", "orphan").split()
    )
    assert "in the queue that no submission recorded" in site.vmafarm("submit", "orphan", status=2)
    assert "cancelled" in site.vmafarm("cancel", "orphan")
    wait_until(lambda: not site.queued("orphan"), 60, "it has gone from the queue")
    assert site.look("orphan")["done"] == 0
    site.vmafarm("retry", "orphan", *THREE_ELEMENTS)
    assert site.wait_for_table("orphan") == expected


@pytest.mark.cluster(accounting=True)
def test_a_limit_of_three_submitted_jobs_is_kept_by_elements_that_share_slices(
    site: Site, expected: bytes
) -> None:
    few = setting("slurm.account", "few")
    said = site.vmafarm("submit", "few", *few, *setting("slurm.rounds", 3), status=2)
    assert "3 more jobs may be in the queue, but 4 are needed" in said
    said = site.vmafarm("submit", "few", *few)
    assert f"submitted {SLICES} slices in 1 element:" in said
    assert site.wait_for_table("few") == expected


def test_1523_slices_are_one_array_whose_elements_share_them(site: Site, shared: Path) -> None:
    names = [f"orig_{number}_540_5s.mp4" for number in range(1523)]
    (shared / "clips").mkdir()
    for name in names:
        (shared / "clips" / name).write_bytes(b"x")
    write_scores(shared / "scores.csv", names)
    give_to_user(shared)
    corpus = ("--clips", str(shared / "clips"), "--scores", str(shared / "scores.csv"))
    said = site.vmafarm("submit", "large", "--dry-run", *corpus, *setting("slices.count", len(names)))
    found = re.search(r"array elements: round 1: ([\d,]+); round 2: 3;", said)
    assert found, said
    elements = int(found[1].replace(",", ""))
    assert elements < len(names)
    assert f"#SBATCH --array=0-{elements - 1}%3" in said
    assert not site.queued("large")


@pytest.mark.cluster(small_arrays=True, gpus=False)
def test_more_slices_than_an_array_may_have_share_its_elements(site: Site, expected: bytes) -> None:
    said = site.vmafarm("submit", "arrays")
    found = re.search(rf"submitted {SLICES} slices in (\d+) elements", said)
    assert found, said
    assert int(found[1]) < SLICES
    assert site.wait_for_table("arrays") == expected
    ran = [number for one in site.elements("arrays") if len(one.slices) < SLICES for number in one.slices]
    assert set(ran) == set(range(SLICES))
