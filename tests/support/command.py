"""Runs the command vmafarm: as a process, as a user does, or within this process, which is far cheaper."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq

from vmafarm import __main__ as the_command

QUICK = tuple(
    word
    for key in ("engine.plan=identity", "engine.kind=ffmpeg", "engine.audit_every=0", "merge.checks=false")
    for word in ("--set", key)
)
"""Options for tests that are about neither the plan nor the checks: a twentieth of the work."""


def vmafarm(
    *arguments: str | Path, cwd: Path, status: int | None = 0, seconds: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end.

    Parameters
    ----------
    *arguments
        Of the command.
    cwd
        Working folder.
    status
        The exit status that is expected; None: any.
    seconds
        Until the test fails.
    """
    finished = subprocess.run(
        command(arguments), cwd=cwd, capture_output=True, text=True, timeout=seconds, check=False
    )
    said = finished.stdout + finished.stderr
    assert "Traceback" not in said, said
    assert status is None or finished.returncode == status, said
    return finished


def call(
    *arguments: str | Path, cwd: Path = Path(), status: int | None = 0
) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end in this process, for tests of what it says and does; as `vmafarm` otherwise."""
    words = ["vmafarm", *map(os.fspath, arguments)]
    out, aside = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", words), mock.patch.dict(os.environ), _signals_given_back(), chdir(cwd),
        redirect_stdout(out), redirect_stderr(aside),
    ):  # fmt: skip
        ended = the_command._run()
    finished = subprocess.CompletedProcess(words, ended, out.getvalue(), aside.getvalue())
    assert status is None or ended == status, finished.stdout + finished.stderr
    return finished


@contextmanager
def _signals_given_back() -> Iterator[None]:
    numbers = (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start(*arguments: str | Path, cwd: Path) -> subprocess.Popen[str]:
    """Start a verb in a process group of its own."""
    return subprocess.Popen(
        command(arguments),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def command(arguments: Sequence[str | Path]) -> list[str]:
    """The command line of a verb."""
    return [sys.executable, "-m", "vmafarm", *map(os.fspath, arguments)]


def write_scores(path: Path, names: Sequence[str]) -> Path:
    """Scores in KoNViD-150k's layout, from 1.0 upwards."""
    lines = [f"{name},{1 + i % 40 / 10}" for i, name in enumerate(names)]
    path.write_text("\n".join(["video_name,video_score", *lines, ""]))
    return path


def corpus(*arguments: str) -> list[str]:
    """Options that name the corpus of `write_scores` and a folder ``clips`` beside it."""
    return ["--clips", "clips", "--scores", "scores.csv", *arguments]


def table(path: Path) -> pa.Table:
    """A table as pyarrow reads it."""
    return pq.ParquetFile(path).read()
