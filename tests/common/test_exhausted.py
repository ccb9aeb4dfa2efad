"""Limits of the process (ulimit): each is one message that names the limit, whatever library meets it."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import threading
from pathlib import Path

import pytest
from support.command import command as vmafarm
from support.merge_helpers import make_row, plan_run

from vmafarm import __main__ as command
from vmafarm.common.errors import explain_limit


def limited(limit: int, value: int, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb under a limit."""
    return subprocess.run(
        vmafarm(words), capture_output=True, text=True, check=False, timeout=60,
        preexec_fn=lambda: resource.setrlimit(limit, (value, value)),
    )  # fmt: skip


def test_no_thread_to_start_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")  # Python's own words, see threading.Thread.start

    monkeypatch.setattr(threading, "_start_new_thread", refuse)
    monkeypatch.setattr("sys.argv", ["vmafarm", "--version"])
    assert command._run() == 3
    assert capsys.readouterr().err == (
        "error: no more threads may be started here\n"
        "  raise the limit of processes and threads (ulimit -u), or end other programs of yours\n"
    )


def test_too_little_address_space_for_the_libraries_is_one_message(tmp_path: Path) -> None:
    plan_run(tmp_path / "runs", ["a.mp4"])
    options = ("--run", "demo", "--set", f"run.root={tmp_path}/runs")
    said = limited(resource.RLIMIT_AS, 250 << 20, "sql", "SELECT 1", *options)
    assert said.returncode == 3, said.stderr
    assert (said.stderr.count("error: "), "Traceback" in said.stderr) == (1, False)
    assert "ulimit -v" in said.stderr


@pytest.mark.parametrize("files", [7, 9])
def test_too_few_files_for_a_merge_are_one_message(tmp_path: Path, files: int) -> None:
    run = plan_run(tmp_path / "runs", ["a.mp4"], scratch=tmp_path)
    run.freeze()
    run.shard([make_row("a.mp4")])
    said = limited(
        resource.RLIMIT_NOFILE, files, "merge", "--run", "demo", "--set", f"run.root={tmp_path}/runs"
    )
    assert said.returncode == 3, said.stderr
    assert (said.stderr.count("error: "), "Traceback" in said.stderr) == (1, False)
    assert "raise the limit of open files (ulimit -n)" in said.stderr


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (ImportError("libx.so: failed to map segment from shared object"), "ulimit -v"),
        (ImportError("libx.so: cannot open shared object file: Too many open files"), "ulimit -n"),
        (ImportError(f"libx.so: {os.strerror(errno.ENOMEM)}"), "ulimit -v"),
        (ImportError("No module named 'x'"), None),
        (RuntimeError("can't start new thread, it says"), None),
        (ValueError(os.strerror(errno.ENOMEM)), None),
    ],
)
def test_a_limit_is_distinguished_from_a_fault(error: Exception, hint: str | None) -> None:
    found = explain_limit(error)
    assert (found is None) == (hint is None)
    assert found is None or (hint in found.hint and str(error) == found.message)
