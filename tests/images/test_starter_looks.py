"""containers/element.sh: the next look keeps away from the node of this one."""

from __future__ import annotations

import os

import pytest
from support.starter import NODES, look


def test_the_next_look_is_kept_off_this_node_where_another_one_is_like_it(node):
    assert look(node, exclude="node9") == ["scontrol update JobId=77 ExcNodeList=node1,node9"]


@pytest.mark.parametrize(
    ("nodes", "exclude", "there"),
    [
        ("node1 32 64000 gpu:1 (null)", "", "node1"),  # the only one in service
        (NODES, "node2", "node1"),
        (NODES, "", "node3"),  # the only one with that feature
        ("node1 32 64000 gpu:1 (null)\nnode2 32 32000 gpu:1 (null)", "", "node1"),  # of less memory
        ("node1 32 64000 gpu:1 (null)\nnode2 32 64000 (null) (null)", "", "node1"),  # without a GPU
    ],
)
def test_the_next_look_may_come_to_this_node_where_no_other_one_could_take_it(node, nodes, exclude, there):
    assert look(node, nodes, exclude, there) == []


def test_a_broken_node_takes_the_place_of_no_other_one(node):
    node.mark("node2")
    assert look(node) == []


def test_nodes_that_break_later_are_excluded_as_well_as_the_first_one(node):
    look(node)
    node.answer("squeue", "echo 12; echo 77")
    assert node.start("sh", "-c", "exit 255", node="node8").returncode == 3
    assert node.calls[-2:] == [
        "scontrol update JobId=12 ExcNodeList=node8",
        "scontrol update JobId=77 ExcNodeList=node8,node1",
    ]


def test_what_is_no_file_among_the_notes_keeps_no_element_waiting(node):
    """FIFOs, devices and names that no node has: none of them breaks a node, none is read."""
    node.mark("node5", "no,node", "$(touch x)")
    for name in ("node1", "node6"):
        os.mkfifo(node.run / "broken_nodes" / name)
    (node.run / "broken_nodes" / "node7").symlink_to("/dev/zero")
    submissions = node.run / "submissions"
    submissions.mkdir()
    os.mkfifo(submissions / "00001.look")
    (submissions / "00001.look.away").write_text("node8\n")
    (submissions / "00002.look").write_text("12\n")
    os.mkfifo(submissions / "00002.look.away")
    assert node.start("sh", "-c", "exit 0").returncode == 0  # the FIFO does not say that node1 is broken
    ended = node.start("sh", "-c", "exit 255", options=("--max-broken", "2"))
    assert ended.returncode == 3
    assert (node.run / "broken_nodes" / "node1").is_file()
    assert node.calls[1:] == [f"scontrol update JobId={job} ExcNodeList=node1,node5" for job in (12, 13)]


def test_a_fifo_at_the_place_of_the_next_look_is_read_by_no_element(node):
    (node.run / "submissions").mkdir()
    file = node.run / "submissions" / "00001.look"
    os.mkfifo(file)
    assert node.start("true", options=("--next-look", str(file))).returncode == 0
    assert node.calls == []


def test_a_fifo_at_the_place_of_where_was_looked_makes_room(node):
    (node.run / "submissions").mkdir()
    os.mkfifo(node.run / "submissions" / "00001.look.away")
    assert look(node) == ["scontrol update JobId=77 ExcNodeList=node1"]
    assert (node.run / "submissions" / "00001.look.away").read_text() == "node1\n"


def test_filters_of_a_users_own_hide_neither_jobs_nor_nodes(node, monkeypatch):
    for name in ("SQUEUE_STATES", "SQUEUE_PARTITION", "SINFO_FORMAT"):
        monkeypatch.setenv(name, "COMPLETED")
    node.answer("squeue", '[ -z "$SQUEUE_STATES$SQUEUE_PARTITION" ] && echo 12')
    assert look(node) == ["scontrol update JobId=77 ExcNodeList=node1"]
    node.answer("sinfo", '[ -z "$SINFO_FORMAT" ] || exit 1')
    node.mark("node1")
    node.start("true")
    assert "scontrol update JobId=12 ExcNodeList=node1" in node.calls
    assert all(" --all " in call for call in node.calls if call.startswith(("squeue", "sinfo")))


def test_a_hidden_partition_is_named_and_not_asked_for_with_all(node, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_PARTITION", "hidden")
    assert look(node) == ["scontrol update JobId=77 ExcNodeList=node1"]
    (asked,) = [call for call in node.calls if call.startswith("sinfo")]
    assert " --partition=hidden " in asked, "which shows a hidden one, and which sinfo refuses with --all"
    assert "--all" not in asked


def test_a_record_of_another_node_of_the_job_is_not_taken_for_its_own(node):
    """With several nodes in a job, the elements on the others have records under the same job and index."""
    elements = node.run / "elements"
    elements.mkdir()
    begin = 'touch "$0/11-3-0-$1-$$-abcd.jsonl"; exit 255'
    assert node.start("sh", "-c", begin, str(elements), "node2").returncode == 3
    assert node.broken == ["node1"]
    (node.run / "broken_nodes/node1").unlink()
    assert node.start("sh", "-c", begin, str(elements), "node1").returncode == 255
    assert node.broken == []
