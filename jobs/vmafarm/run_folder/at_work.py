"""Who works on a run without SLURM: a lease, so that nobody starts a second process on the same clips.

Nothing depends on it. Two processes at once lose no row and publish nothing twice, they only score clips
twice; so a lease that cannot be written, read or believed is no reason not to work.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import pydantic

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.common.interrupts import hold, release
from vmafarm.common.text import format_seconds
from vmafarm.disk import durable
from vmafarm.disk.jsonl import Moment, Word, parse_json
from vmafarm.disk.regular_files import MOST_BYTES_OF_NOTE, open_regular, read_regular
from vmafarm.disk.writers import user_name
from vmafarm.process.identity import Identity, is_visible, own_identity, owner_of
from vmafarm.process.node import node_name
from vmafarm.run_folder.paths import RunFolder

REFRESH_SECONDS = 60.0
STALE_SECONDS = 300.0
"""On another machine nobody sees whether the process is alive, only when it last refreshed its lease."""


@dataclass(frozen=True)
class Worker:
    """A process that works on a run.

    Attributes
    ----------
    host
        Its machine.
    user
        Who started it.
    since
        When it began to work on the run (ISO 8601, UTC).
    identity
        The process.
    """

    host: Word
    user: Word
    since: Moment
    identity: Identity

    def __str__(self) -> str:
        since = datetime.fromisoformat(self.since).astimezone(UTC)
        return (
            f"process {self.identity.process} of {show(self.user)} on {show(self.host)}, "
            f"since {since:%Y-%m-%d %H:%M:%S} UTC"
        )


_WORKER = pydantic.TypeAdapter(Worker)


def read_worker(folder: RunFolder) -> Worker | None:
    """Read who works on a run; None: nobody, as far as can be seen."""
    found = _read(folder)
    return found.worker if found is not None and found.holds else None


def refuse_second(folder: RunFolder) -> None:
    """Refuse to work on a run while another process does.

    Raises
    ------
    UsageError
        Who works on it since when, and what to do.
    """
    worker = read_worker(folder)
    if worker is None or worker.identity == own_identity():
        return
    name, number = folder.name, worker.identity.process
    lease = show(str(folder.at_work))
    if is_visible(worker.identity):
        to_do = [
            f"wait for it: vmafarm status --run {name} --watch",
            f"or stop it: kill {number}; what is finished is kept",
            f"if that process does something else: rm {lease}",
        ]
    else:
        to_do = [
            f"wait for it, or stop it there: kill {number}; what is finished is kept",
            f"if it has ended there without notice: try again in {format_seconds(STALE_SECONDS)}, "
            f"or rm {lease}",
        ]
    raise UsageError(f'the run "{name}" is being worked on: {worker}', "\n".join(to_do))


@contextmanager
def at_work(folder: RunFolder, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lease of a run, and refresh it once a minute.

    Parameters
    ----------
    folder
        The run; its folder exists.
    say
        Told if the lease of a process on another machine is taken over.

    Raises
    ------
    UsageError
        As `refuse_second`.
    """
    text = _take(folder, say)
    if text is None:
        yield
        return
    over = threading.Event()
    hold(folder.at_work)
    try:
        with suppress(RuntimeError):  # no more threads may be started here
            threading.Thread(target=_refresh, args=(folder, text, over), name="lease", daemon=True).start()
        yield
    finally:
        over.set()
        release(folder.at_work)
        _give_back(folder, text)


@dataclass(frozen=True)
class _Lease:
    worker: Worker
    holds: bool
    seconds: float


def _read(folder: RunFolder) -> _Lease | None:
    """A lease, and whether it is believed; None: there is none that can be read."""
    try:
        with open_regular(folder.at_work, MOST_BYTES_OF_NOTE) as file:
            status = os.fstat(file.fileno())
            worker = _WORKER.validate_python(parse_json(file.read(MOST_BYTES_OF_NOTE)))
    except (OSError, ValueError):
        return None
    seconds = time.time() - status.st_mtime
    if is_visible(worker.identity):
        # A lease that its process did not write is forged.
        holds = owner_of(worker.identity) == status.st_uid
    else:
        restarted = worker.host == node_name(os.environ) and worker.identity.kernel != own_identity().kernel
        holds = not restarted and abs(seconds) <= STALE_SECONDS
    return _Lease(worker, holds, seconds)


def _take(folder: RunFolder, say: Callable[[str], None]) -> str | None:
    """Write the lease of this process; None: it cannot be written."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    host = node_name(os.environ)
    text = json.dumps(asdict(Worker(host, user_name(os.geteuid()), since, own_identity()))) + "\n"
    for _ in range(_ATTEMPTS):
        refuse_second(folder)
        before = _read(folder)
        try:
            if os.path.lexists(folder.at_work):
                durable.remove(folder.at_work)
            durable.create_text(folder.at_work, text)
        except FileExistsError:
            continue  # another process was faster
        except (UnavailableError, OSError):
            return None
        if before is not None and not is_visible(before.worker.identity) and before.worker.host != host:
            age = format_seconds(abs(before.seconds))
            say(f"taking over from {before.worker}: its lease was not refreshed for {age}")
        return text
    return None


_ATTEMPTS = 3


def _is_ours(folder: RunFolder, text: str) -> bool:
    try:
        return read_regular(folder.at_work, MOST_BYTES_OF_NOTE) == text.encode()
    except OSError:
        return False


def _refresh(folder: RunFolder, text: str, over: threading.Event) -> None:
    while not over.wait(REFRESH_SECONDS):
        if _is_ours(folder, text):
            with suppress(OSError):
                os.utime(folder.at_work)


def _give_back(folder: RunFolder, text: str) -> None:
    if _is_ours(folder, text):
        with suppress(UnavailableError, OSError):
            durable.remove(folder.at_work)
