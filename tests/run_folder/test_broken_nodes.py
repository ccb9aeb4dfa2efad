"""Nodes that are excluded from a run."""

from __future__ import annotations

import os

from vmafarm.run_folder.broken_nodes import BrokenNode, mark_broken, read_broken
from vmafarm.run_folder.paths import RunFolder


def test_a_broken_node_is_recorded_with_its_first_message(tmp_path):
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


def test_an_invalid_node_name_marks_nothing(tmp_path):
    folder = RunFolder(tmp_path, "demo")
    for name in ("", "../x", "a/b", ".hidden", "-x", "a b"):
        mark_broken(folder, name, "x")
    assert not folder.broken_nodes.exists()


def test_a_mark_without_a_readable_reason_still_counts(tmp_path):
    folder = RunFolder(tmp_path, "demo")
    folder.broken_nodes.mkdir(parents=True)
    (folder.broken_nodes / "node7").write_bytes(b"")
    (folder.broken_nodes / ".node8.123").write_text("{}")  # being written
    assert read_broken(folder) == [BrokenNode("node7", "no reason is given", "")]


def test_other_files_and_invalid_names_break_no_node(tmp_path):
    folder = RunFolder(tmp_path, "demo")
    mark_broken(folder, "node1", "no driver")
    os.mkfifo(folder.broken_nodes / "node2")
    (folder.broken_nodes / "node3").symlink_to("/dev/zero")
    (folder.broken_nodes / "node4").mkdir()
    (folder.broken_nodes / "node5,node6").write_text("x\n")
    assert [node.node for node in read_broken(folder)] == ["node1"]
    mark_broken(folder, "node2", "a full disk")
    mark_broken(folder, "node4", "a full disk")
    assert [node.node for node in read_broken(folder)] == ["node1", "node2"]
