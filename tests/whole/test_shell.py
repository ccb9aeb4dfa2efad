"""All shell of the repository: scripts, and the sections of recipes that a shell runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHELLCHECK = Path(sys.executable).parent / "shellcheck"
SHEBANG = re.compile(rb"#!.*\b(ba|da)?sh\b")


def tracked() -> list[Path]:
    """Files of the repository."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def is_script(path: Path) -> bool:
    return path.suffix == ".sh" or SHEBANG.match(path.read_bytes()[:80].split(b"\n")[0]) is not None


def sections(recipe: str) -> list[tuple[str, str]]:
    """Name and text of every section of a recipe that a shell runs."""
    found = re.findall(r"(?ms)^%(\w+)[^\n]*\n(.*?)(?=^%|^Bootstrap:|\Z)", recipe)
    return [(name, text) for name, text in found if name in ("post", "environment", "test", "runscript")]


def check(*scripts: Path) -> subprocess.CompletedProcess[str]:
    command = [SHELLCHECK, "--external-sources", *scripts]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_script_passes_shellcheck() -> None:
    scripts = [path for path in tracked() if is_script(path)]
    names = {str(path.relative_to(ROOT)) for path in scripts}
    expected = {".ci/run", "containers/element.sh", "tests/real_cluster/up", "tests/real_cluster/common.sh"}
    assert names >= expected
    finished = check(*scripts)
    assert finished.returncode == 0, finished.stdout


def test_the_shell_of_every_recipe_passes_shellcheck(tmp_path: Path) -> None:
    scripts = []
    for recipe in (path for path in tracked() if path.suffix == ".def"):
        for number, (name, text) in enumerate(sections(recipe.read_text())):
            scripts.append(tmp_path / f"{recipe.stem}-{number}-{name}.sh")
            scripts[-1].write_text("#!/bin/sh\nset -e\n" + text)
    assert {path.stem for path in scripts} >= {"apptainer-0-post", "cpu-0-post", "base-0-post"}
    finished = check(*scripts)
    assert finished.returncode == 0, finished.stdout


@pytest.mark.parametrize("fault", ["rm -rf $1/*", "if [ $x = 1 ]; then"])
def test_shellcheck_finds_what_it_is_there_for(tmp_path: Path, fault: str) -> None:
    (tmp_path / "bad.sh").write_text(f"#!/bin/sh\n{fault}\n")
    assert check(tmp_path / "bad.sh").returncode == 1
