"""Log files of tasks, named as submitit names them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from vmafarm.common.errors import show
from vmafarm.disk.regular_files import open_regular
from vmafarm.run_folder.paths import RunFolder

_TAIL_BYTES = 256 * 1024


def log_path(folder: RunFolder, job: str, index: int | None, stream: str, tasks: int = 1) -> Path:
    """Path of the log of a task.

    Parameters
    ----------
    folder
        The run.
    job, index
        Job id (for an element, that of its array) and index; None for a job that is not an array.
    stream
        ``out`` or ``err``.
    tasks
        Elements of each job; `index` is then the element's.
    """
    number, rank = divmod(index or 0, tasks)
    of_job = folder.logs / f"{job}_{rank}_log.{stream}"
    # A job whose nodes have all elements is no array.
    if index is None or (tasks > 1 and not number and of_job.exists()):
        return of_job
    return folder.logs / f"{job}_{number}_{rank}_log.{stream}"


def tail(path: Path, count: int) -> list[str]:
    """Last lines of a log, escaped for a terminal; empty if it cannot be read."""
    with suppress(OSError), open_regular(path, None) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        data = file.read(_TAIL_BYTES)
        if size > _TAIL_BYTES:
            data = data.partition(b"\n")[2]
        # A progress bar ends its lines with carriage returns; only the last one counts.
        text = [line.rstrip(b"\r").rpartition(b"\r")[2] for line in data.split(b"\n")]
        text = [line for line in text if line.strip()]
        return [show(line.decode("utf-8", "surrogateescape").expandtabs()) for line in text[-count:]]
    return []
