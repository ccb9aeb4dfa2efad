"""The version distinguishes any two states of the code."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vmafarm
from vmafarm.process.toolkit import version


def version_in(folder: Path) -> str:
    """Return the version of a copy of the package."""
    said = subprocess.run(
        [sys.executable, "-P", "-c", "from vmafarm.process.toolkit import version; print(version())"],
        cwd=folder,
        env={"PYTHONPATH": str(folder / "jobs"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout.strip()


@pytest.mark.parametrize(
    "changed", ["jobs/vmafarm/shards/writer.py", "jobs/vmafarm/report/page.html.j2", "sql/merge/rows.sql"]
)
def test_version_is_that_of_the_code_and_changes_with_it(tmp_path: Path, changed: str) -> None:
    for folder in ("jobs", "sql"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(vmafarm.__file__).parents[2] / folder, tmp_path / folder, ignore=ignored)
    assert version_in(tmp_path) == version()
    assert version().startswith(f"{vmafarm.__version__}+")
    with (tmp_path / changed).open("a") as file:
        file.write("\n")
    assert version_in(tmp_path) != version()
