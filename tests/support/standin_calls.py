"""Calls of the stand-in for the fork's program."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

MODEL = ("--model", "version=vmaf_v0.6.1")
CPU = ("--backend", "cpu")
CUDA = ("--backend", "cuda")


def features(*names: str) -> list[str]:
    """Options that ask for these extractors."""
    return [word for name in names for word in ("--feature", name)]


def start(program: Path, clip: Path, *arguments: str, log: Path, **options: Any) -> subprocess.Popen[bytes]:
    """The program of a dialect with --precision, at work on an identity pair."""
    return _start(program, clip, *arguments, "--precision", "max", log=log, **options)


def _start(program: Path, clip: Path, *arguments: str, log: Path, **options: Any) -> subprocess.Popen[bytes]:
    pair = ("--reference", str(clip), "--distorted", str(clip))
    rest = ("--threads", "2", "--json", "--output", str(log), "-q")
    return subprocess.Popen([str(program), *pair, *arguments, *rest], stderr=subprocess.PIPE, **options)


def run(program: Path, clip: Path, *arguments: str) -> tuple[int, str, Any]:
    """Exit status, stderr, and the log (None where it is missing or is no JSON); with --precision max."""
    return plain_run(program, clip, *arguments, "--precision", "max")


def plain_run(program: Path, clip: Path, *arguments: str) -> tuple[int, str, Any]:
    """The same with options that every dialect takes."""
    log = program.parent / "log.json"
    log.unlink(missing_ok=True)
    process = _start(program, clip, *arguments, log=log)
    _, errors = process.communicate(timeout=60)
    try:
        content = json.loads(log.read_text())
    except (OSError, ValueError, RecursionError):
        content = None
    return process.returncode, errors.decode(), content


def metrics(log: Any) -> list[dict[str, float | None]]:
    """What a log says of each frame."""
    return [frame["metrics"] for frame in log["frames"]]
