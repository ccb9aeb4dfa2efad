"""Only the package `vmafarm.process` starts programs: a test enforces that rule."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import vmafarm

PACKAGE = Path(vmafarm.__file__).parent
MAY = {
    "common/utf8.py": "becomes the same command in another mode, as the same process",
    "corpus/squashfs.py": "a mount, which lives for as long as its clips are read",
}
MODULES = {"subprocess", "multiprocessing", "pty"}
STARTERS = {"fork", "forkpty", "system", "popen", "posix_spawn", "posix_spawnp", "Popen"}


def starts(source: str) -> Iterator[str]:
    """Find calls and imports with which a module could start a program."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (
                alias.name for alias in node.names if alias.name in ("subprocess", "multiprocessing", "pty")
            )
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            if name in STARTERS or (
                ast.unparse(node.func.value) == "os" and name.startswith(("exec", "spawn"))
            ):
                yield name


def test_only_the_package_process_starts_programs() -> None:
    found = {
        str(path.relative_to(PACKAGE)): list(starts(path.read_text(encoding="utf-8")))
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] != "process"
    }
    assert {name for name, ways in found.items() if ways} - MAY.keys() == set(), "use vmafarm.process.run"


@pytest.mark.parametrize(
    "line", ["import subprocess", "from subprocess import run", "os.fork()", "os.execv(a, b)", "os.system(a)"]
)
def test_the_rule_detects_every_way_to_start_a_program(line: str) -> None:
    assert list(starts(line))
