"""What conftest.py does: skips fail on demand, signals are as at a terminal, no process is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[2]
TESTS = """\
import signal, subprocess, sys
import pytest

NAMES = ("SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGCHLD", "SIGUSR1", "SIGUSR2")
IGNORED = "from signal import *; print([n for n in sys.argv[1:] if getsignal(Signals[n]) is SIG_IGN])"

def test_that_no_signal_is_ignored():
    assert [n for n in NAMES if signal.getsignal(signal.Signals[n]) is signal.SIG_IGN] == []
    child = [sys.executable, "-c", "import sys;" + IGNORED, *NAMES]
    assert subprocess.run(child, capture_output=True, text=True).stdout == "[]\\n"

@pytest.mark.skip(reason="no cluster here")
def test_by_mark():
    pass

def test_by_call():
    pytest.skip("no image here")
"""
LEAVES = """\
import subprocess
left = []

def test_that_leaves_a_process():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    left.append(subprocess.Popen(["sh", "-c", "echo; read x"], start_new_session=True, **pipes))
    left[0].stdout.readline()  # it is at work

def test_behind_it():
    left[0].kill()
    left[0].communicate()
"""
IN_BACKGROUND = "trap '' HUP INT QUIT TERM CHLD; exec \"$@\""
"""Ignores what nohup, a script's ``&`` and some starters of jobs ignore, and more."""


def run_pytest(folder: Path, *options: str, tests: str = TESTS) -> subprocess.CompletedProcess[str]:
    """A new pytest with our conftest.py, started as in the background of a script."""
    (folder / "test_some.py").write_text(tests)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT / "tests", ROOT)))}
    return subprocess.run(
        ["sh", "-c", IN_BACKGROUND, "sh", sys.executable, "-m", "pytest", "-p", "conftest",
         "-p", "no:cacheprovider", "--rootdir", folder, *options, folder],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_in_the_background_signals_are_as_at_a_terminal_and_a_skip_is_a_skip(tmp_path: Path) -> None:
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


def test_a_test_that_leaves_a_process_behind_has_failed(tmp_path: Path) -> None:
    finished = run_pytest(tmp_path, tests=LEAVES)
    assert "2 passed, 1 error" in finished.stdout
    assert "left running: ['sh -c echo; read x ']" in finished.stdout
