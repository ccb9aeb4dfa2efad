"""Logs of tasks as submitit names them, and their ends."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from vmafarm.common.errors import show
from vmafarm.disk.regular_files import open_regular
from vmafarm.run_folder.paths import RunFolder

_TAIL_BYTES = 256 * 1024


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
    with suppress(OSError), open_regular(path, None) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        data = file.read(_TAIL_BYTES)
        if size > _TAIL_BYTES:
            data = data.partition(b"\n")[2]
        # A progress bar ends its lines with carriage returns, and only the last of them counts.
        text = [line.rstrip(b"\r").rpartition(b"\r")[2] for line in data.split(b"\n")]
        text = [line for line in text if line.strip()]
        return [show(line.decode("utf-8", "surrogateescape").expandtabs()) for line in text[-count:]]
    return []
