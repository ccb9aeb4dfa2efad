"""Runs the command vmafarm as a user does: as a process, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

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
