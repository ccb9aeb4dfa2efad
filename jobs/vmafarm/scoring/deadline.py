"""When a process has to stop: signals, time limits, and the end of the process that started it."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from vmafarm.common.signals import give_back, take
from vmafarm.process.run import Stop


def ignore_early_notice() -> None:
    """Ignore SIGUSR2 from now on.

    submitit has SLURM send it before the time limit, and would then requeue the job with a program that no
    image contains. It arrives up to a minute early (sbatch, --signal), sometimes twice. An element knows its
    own deadline; a job that is preempted or cancelled gets SIGTERM as well.
    """
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


@contextmanager
def signals_set(stop: Stop) -> Iterator[None]:
    """SIGTERM, SIGINT and SIGHUP set `stop` meanwhile, unless they are ignored."""
    before = take((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), lambda *_: stop.set())
    try:
        yield
    finally:
        give_back(before)


def watch(launcher: int, stop: Stop) -> None:
    """Set `stop` when another process on this machine has ended, for whatever reason."""

    def watch() -> None:
        pause = threading.Event()
        while not pause.wait(0.5):
            try:
                os.kill(launcher, 0)
            except ProcessLookupError:
                stop.set()
                return

    threading.Thread(target=watch, daemon=True, name="launcher-watch").start()


STARTED = "VMAFARM_STARTED"
"""Variable with the start time of the job (seconds since 1970), set by the script that starts elements."""


def elapsed_seconds(environment: Mapping[str, str]) -> float:
    """Seconds since the job began: meanwhile an image was copied and a container started."""
    try:
        return max(0.0, time.time() - float(environment.get(STARTED, "")))
    except ValueError:
        return 0.0


class Deadline:
    """When an element must end, and whether there is time for another clip.

    Parameters
    ----------
    minutes
        Time limit requested from SLURM, which does not tell a job when it ends; 0: none.
    elapsed
        Seconds of it that have passed.
    """

    RESERVE_SECONDS = 120.0
    """For an orderly end; a quarter of a very short limit."""

    def __init__(self, minutes: float, elapsed: float = 0.0) -> None:
        seconds = minutes * 60 - min(self.RESERVE_SECONDS, minutes * 15) - elapsed
        self._ends_at = time.monotonic() + seconds if minutes else math.inf
        self._longest = {False: 0.0, True: 0.0}
        self.refused = False

    def note(self, seconds: float, audited: bool = False) -> None:
        """Remember how long a clip took; an audited one may take twenty times as long."""
        self._longest[audited] = max(self._longest[audited], seconds)

    def allows_another(self, audited: bool = False) -> bool:
        """Whether a clip that takes 1.5 times as long as the longest of its kind so far ends in time."""
        longest = max(self._longest[False], self._longest[audited])
        if time.monotonic() + 1.5 * longest < self._ends_at:
            return True
        self.refused = True
        return False


_SECONDS_AT_LEAST = 600.0
_SECONDS_PER_BYTE = 300e-6
"""Full plan on one core: 70 CPU seconds for 120 frames of 960x540 (measured), about 0.5 MB; with a
margin for slow and crowded nodes."""
_SECONDS_AT_MOST = 86400.0
"""Reached at 290 MB. Longer than most partitions let an element run, and a file with holes can have any size;
set ``extract.timeout`` for such clips."""


def most_seconds(size: int) -> float:
    """Seconds that a clip of this size, in bytes, may take unless ``extract.timeout`` is set."""
    return min(_SECONDS_AT_LEAST + size * _SECONDS_PER_BYTE, _SECONDS_AT_MOST)
