"""disk/regular_files.py opens all files that others may have put there: a test holds that rule."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import vmafarm

PACKAGE = Path(vmafarm.__file__).parent
METHODS = {"open", "read_bytes", "read_text", "write_bytes", "write_text", "touch"}
FUNCTIONS = {"open", "fdopen"}
READERS = {
    "ParquetFile",
    "read_table",
    "read_metadata",
    "read_schema",
    "read_json",
    "read_csv",
    "read_parquet",
}
MAY = {
    "disk/regular_files.py": "the one way",
    "disk/syscalls.py": "the one way of opening files to write them, without a wait",
    "disk/sealed_blocks.py": "in memory, of a file that is open",
    "disk/held_folder.py": "by the descriptor of its folder, without a wait and through no link",
    "query/text.py": "what the user names to be read may be a pipe",
    "process/toolkit.py": "files of the package",
    "query/checks.py": "files of the package",
    "labels/presets.py": "files of the package",
    "schema/read_set.py": "files of the package",
    "images/command.py": "files of the package",
    "images/build.py": "files of the checkout, and a new folder of its own",
    "images/inside.py": "in an image, while it is built",
    "shards/recovery.py": "the scratch folder of this process alone",
    "merging/frame_sources.py": "the scratch folder of this process alone",
    "process/identity.py": "/proc",
    "process/memory.py": "/proc and /sys",
    "process/process_limits.py": "/proc",
    "common/utf8.py": "/proc",
    "process/descendants.py": "/proc",
    "run_folder/permissions.py": "/proc",
    "process/gpu_here.py": "/proc",
    "doctor/folders.py": "/proc",
    "common/streams.py": "/dev/null",
    "process/scratch.py": "locks, opened without a wait",
    "engines/probe.py": "a new folder of its own",
    "corpus/demo.py": "a new folder of its own, as a folder",
    "query/kept.py": "the scratch folder of this process alone",
    "query/answers.py": "DuckDB's answer, written to a draft",
}
"""Modules that may open files in another way, and why."""


def openings(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of each call that opens a file by its path."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in FUNCTIONS | READERS:
            yield node.lineno, called.id
        elif isinstance(called, ast.Attribute) and called.attr in METHODS | READERS | FUNCTIONS:
            owner = ast.unparse(called.value)
            of_open_file = called.attr in READERS and node.args and _is_open(node.args[0])
            # vmafarm.disk.syscalls, by which files are written
            if owner not in ("system", "durable.system") and not of_open_file:
                yield node.lineno, called.attr


def _is_open(argument: ast.expr) -> bool:
    """Whether a reader is given bytes in memory, or a file that is open: by their names here."""
    if isinstance(argument, ast.Call):
        return ast.unparse(argument.func) == "pa.BufferReader"
    return isinstance(argument, ast.Name) and argument.id in ("content", "file")


def test_no_module_opens_files_in_a_way_of_its_own() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if str(path.relative_to(PACKAGE)) not in MAY
        for line, name in openings(path.read_text(encoding="utf-8"))
    ]
    assert found == [], "use vmafarm.disk.regular_files, or say in MAY why it cannot wait for ever"


@pytest.mark.parametrize(
    "source",
    ["open(p)", "p.open('rb')", "p.read_text()", "os.open(p, 0)", "(a / b).read_bytes()", "io.open(p)",
     "pq.ParquetFile(path)", "pq.read_table(p)", "Path(p).write_text('')"],
)  # fmt: skip
def test_the_rule_detects_every_way_to_start_a_program(source: str) -> None:
    assert list(openings(source))


def test_the_rule_lets_the_one_way_through() -> None:
    allowed = "open_regular(p)\nread_regular(p)\nsystem.open(p, 0)\npq.ParquetFile(pa.BufferReader(c))\n"
    assert list(openings(allowed)) == []
