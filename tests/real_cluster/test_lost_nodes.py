"""Nodes that are lost or cannot do the work take neither a row nor the run with them."""

from __future__ import annotations

import json
import signal

import pytest
from real_site import CLIPS, THREE_ELEMENTS, Queued, Site, setting
from real_slurm import Daemons, Facts, signal_element, wait_until

from vmafarm.run_folder.element_records import ElementRecord
from vmafarm.run_folder.failures import read_failures

WHOLE_NODES = setting("slurm.cpus", 2)


@pytest.mark.disturbed
def test_what_ran_on_lost_nodes_is_done_elsewhere_and_nothing_is_there_twice(
    site: Site, expected: bytes, daemons: Daemons, facts: Facts
) -> None:
    # Those that are started again take long enough to be seen at work.
    slow = (
        'if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then sleep 0.7; '
        "else case $SLURM_ARRAY_TASK_ID in 0) sleep 4 ;; 1) sleep 2 ;; esac; fi"
    )
    site.vmafarm("submit", "lost", *WHOLE_NODES, *THREE_ELEMENTS, *site.engine(slow))
    working: dict[int, Queued] = {}

    def both_work() -> bool:
        working.update((one.index, one) for one in site.now_at_work("lost", rows=1))
        return working.keys() >= {0, 1}

    wait_until(both_work, 120, "both elements have rows")
    # Behind a broken network srun does not hear either that its step is to end.
    daemons.down("--node", working[0].node)
    assert signal_element(working[0].array, 0, signal.SIGSTOP, "srun")
    daemons.down("--node", working[1].node, "--with-jobs")

    def of(index: int) -> list[ElementRecord]:
        return [one for one in site.elements("lost") if (one.job, one.index) == (working[0].array, index)]

    wait_until(lambda: len(of(0)) == len(of(1)) == 2, 120, "both were started again")
    assert site.look("lost")["missing"] > 0
    assert site.wait_for_table("lost") == expected
    lost = {working[0].node, working[1].node}
    assert not lost & {of(0)[1].node, of(1)[1].node}
    report = json.loads(site.run_folder("lost").merge_record.read_text())
    assert report["counts"]["duplicate_rows"] > 0, "behind the broken network the same clips were done"
    assert not site.run_folder("lost").broken_nodes.exists(), "a node that is lost is not broken"
    if facts.accounting:
        assert "NODE_FAIL" in site.states([working[0].job])
        assert "NODE_FAIL" in site.states([working[1].job])


def broken_nodes(site: Site, run: str) -> dict[str, str]:
    """Map each broken node to the reason."""
    folder = site.run_folder(run).broken_nodes
    return {path.name: path.read_text() for path in folder.glob("[a-z]*")} if folder.exists() else {}


def excluded(site: Site, run: str) -> set[str]:
    """Nodes that the run's waiting jobs keep away from, and ``""`` for a job that does from none."""
    waiting = {one.job.partition("_")[0] for one in site.queued(run) if one.state == "PENDING"}
    said = [
        site.command("squeue", "--noheader", "--jobs", job, "--states=PENDING", "--format=%x")
        for job in waiting
    ]
    return {nodes.replace("(null)", "") for text in said for nodes in text.split()}


@pytest.mark.disturbed
def test_a_node_with_a_full_scratch_disk_ends_no_run(site: Site, expected: bytes, daemons: Daemons) -> None:
    scratch = site.folder / "scratch"
    scratch.mkdir(mode=0o1777)
    scratch.chmod(0o1777)
    with daemons.hidden(scratch, "node2"):
        site.vmafarm(
            "submit", "full", *WHOLE_NODES, *setting("extract.scratch", str(scratch)), *site.slowly(1)
        )
        wait_until(lambda: broken_nodes(site, "full"), 120, "the node is known to be broken")
        wait_until(lambda: excluded(site, "full") == {"node2"}, 30, "jobs that wait keep away from it")
        site.look("full")
        assert site.wait_for_table("full") == expected
    assert f"the scratch folder {scratch} has no" in broken_nodes(site, "full")["node2"]
    there = [one for one in site.elements("full") if one.node == "node2"]
    assert 1 <= len(there) <= 2, "few elements were lost to it"
    assert not read_failures(site.run_folder("full").failures), "no clip is charged for it"


@pytest.mark.disturbed
def test_a_node_where_the_engine_fails_at_once_ends_no_run_and_is_excluded_afterwards(
    site: Site, expected: bytes, daemons: Daemons
) -> None:
    fails = f'[ "$SLURMD_NODENAME" != node2 ] || [ -e {site.folder}/mended ] || exit 1\nsleep 1'
    site.vmafarm("submit", "driver", *WHOLE_NODES, *site.engine(fails, always=True))
    wait_until(lambda: broken_nodes(site, "driver"), 120, "the node is known to be broken")
    wait_until(lambda: excluded(site, "driver") == {"node2"}, 30, "jobs that wait keep away from it")
    assert list(broken_nodes(site, "driver")) == ["node2"]

    site.vmafarm("cancel", "driver")
    wait_until(lambda: not site.queued("driver"), 60, "nothing is left in the queue")
    assert "--exclude=node2" in site.vmafarm("retry", "driver", "--dry-run")
    (site.folder / "mended").touch()  # it stays excluded: nobody has said that it may be trusted again
    site.vmafarm("retry", "driver")
    assert site.wait_for_table("driver") == expected
    elements = site.elements("driver")
    assert len([one for one in elements if one.node == "node2"]) <= 2, "few elements were lost to it"
    assert not read_failures(site.run_folder("driver").failures), "no clip is charged for it"


def test_a_node_that_does_not_see_the_clips_ends_no_run(
    site: Site, expected: bytes, daemons: Daemons
) -> None:
    with daemons.hidden(site.folder / "clips", "node2"):
        site.vmafarm("submit", "mount", *WHOLE_NODES)
        assert site.wait_for_table("mount") == expected
    assert "the clips are not visible on this node" in broken_nodes(site, "mount")["node2"]
    assert not read_failures(site.run_folder("mount").failures)


def test_clips_that_no_node_sees_are_reported_once_and_not_retried_forever(
    site: Site, expected: bytes
) -> None:
    clips = site.folder / "moved"
    corpus = ("--clips", str(clips))
    (site.folder / "clips").rename(clips)
    try:
        site.vmafarm("plan", "moved", *corpus)
        wait = f"until [ -e {site.folder}/go ]; do sleep 0.2; done"
        site.vmafarm("submit", "moved", *corpus, *setting("slurm.setup", [wait]))
        clips.rename(site.folder / "clips")
        (site.folder / "go").touch()
        wait_until(lambda: not site.queued("moved"), 300, "nothing is left in the queue")
        status = site.look("moved")
        assert (status["done"], status["missing"]) == (0, CLIPS)
        said = site.vmafarm("retry", "moved", status=2)
        assert "nodes have failed, more than 1: the nodes are probably not to blame" in said
        assert f"the clips are not visible on this node: {clips} is not there" in said
    finally:
        if not clips.exists():
            clips.symlink_to(site.folder / "clips")
    for path in site.run_folder("moved").broken_nodes.iterdir():
        path.unlink()
    site.vmafarm("retry", "moved")
    assert site.wait_for_table("moved") == expected
