"""The option --no-skips: what is skipped has failed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """\
import pytest

def test_runs():
    pass

@pytest.mark.skip(reason="no cluster here")
def test_by_mark():
    pass

def test_by_call():
    pytest.skip("no image here")
"""


def run_pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A new pytest with our conftest.py."""
    (folder / "test_some.py").write_text(TESTS)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT / "tests", ROOT)))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "--rootdir", folder,
         *options, folder],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_without_the_option_a_skip_is_a_skip(tmp_path: Path) -> None:
    finished = run_pytest(tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "1 passed, 2 skipped" in finished.stdout


@pytest.mark.parametrize(
    "more", [pytest.param((), id="alone"), pytest.param(("-n", "1"), id="xdist", marks=pytest.mark.full)]
)
def test_with_the_option_a_skip_is_a_failure_that_tells_its_reason(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    finished = run_pytest(tmp_path, "--no-skips", *more)
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert "skipped" not in finished.stdout.splitlines()[-1]
    assert "1 passed" in finished.stdout
    assert "no cluster here" in finished.stdout
    assert "no image here" in finished.stdout
