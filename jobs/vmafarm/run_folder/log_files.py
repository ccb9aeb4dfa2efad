"""Logs of tasks as submitit names them, and their ends."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from vmafarm.common.errors import show
from vmafarm.disk.regular_files import open_regular
from vmafarm.run_folder.paths import RunFolder

_TAIL_BYTES = 256 * 1024
START = "=== vmafarm starts: "
"""How the first line of each start begins: a job that was requeued writes into the same log again."""


def log_path(folder: RunFolder, job: str, index: int | None, stream: str) -> Path:
    """Log of a task.

    Parameters
    ----------
    folder
        The run.
    job, index
        Its job (of an array the array's own), and its index; None for a job that is no array.
    stream
        ``out`` or ``err``.
    """
    task = job if index is None else f"{job}_{index}"
    return folder.logs / f"{task}_0_log.{stream}"


def tail(path: Path, count: int) -> list[str]:
    """Last lines of a log, escaped for a terminal; none where it is not there or cannot be read."""
    lines = _read_end(path)
    return lines[len(lines) - min(count, len(lines)) :]


def printed(path: Path) -> list[str]:
    """Lines that a task has printed since it was started last."""
    lines: list[str] = []
    for line in _read_end(path):
        if line.startswith(START):
            lines.clear()
        else:
            lines.append(line)
    return lines


def _read_end(path: Path) -> list[str]:
    with suppress(OSError), open_regular(path, None) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        data = file.read(_TAIL_BYTES)
        if size > _TAIL_BYTES:
            data = data.partition(b"\n")[2]
        # A progress bar ends its lines with carriage returns, and only the last of them counts.
        text = [line.rstrip(b"\r").rpartition(b"\r")[2] for line in data.split(b"\n")]
        return [show(line.decode("utf-8", "surrogateescape").expandtabs()) for line in text if line.strip()]
    return []
