"""Nodes that are kept out of a run."""

from __future__ import annotations

from jobs.nodes import BrokenNode, mark_broken, read_broken
from jobs.run_folder import RunFolder


def test_a_broken_node_is_on_record_with_its_first_message(tmp_path):
    folder = RunFolder(tmp_path, "demo")
    assert read_broken(folder) == []
    mark_broken(folder, "node2", "the scratch folder is full")
    mark_broken(folder, "node1", "no driver")
    mark_broken(folder, "node2", "something else")
    assert [(node.node, node.message) for node in read_broken(folder)] == [
        ("node1", "no driver"),
        ("node2", "the scratch folder is full"),
    ]
    assert read_broken(folder)[0].at.startswith("20")


def test_a_name_that_is_no_nodes_marks_nothing(tmp_path):
    folder = RunFolder(tmp_path, "demo")
    for name in ("", "../x", "a/b", ".hidden", "-x", "a b"):
        mark_broken(folder, name, "x")
    assert not folder.broken_nodes.exists()


def test_a_mark_without_a_readable_reason_still_counts(tmp_path):
    folder = RunFolder(tmp_path, "demo")
    folder.broken_nodes.mkdir(parents=True)
    (folder.broken_nodes / "node7").write_text("{")
    (folder.broken_nodes / ".node8.123").write_text("{}")  # being written
    assert read_broken(folder) == [BrokenNode("node7", "no reason is given", "")]
