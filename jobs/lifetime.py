"""When a process is to stop: signals, and the end of the one that started it."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.process import Stop


@contextmanager
def signals_set(stop: Stop) -> Iterator[None]:
    """SIGTERM, SIGINT and SIGUSR2 set `stop` while this lasts."""
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch(launcher: int, stop: Stop) -> None:
    """Set `stop` when another process of this machine has ended, however it ended."""

    def watch() -> None:
        pause = threading.Event()
        while not pause.wait(0.5):
            try:
                os.kill(launcher, 0)
            except ProcessLookupError:
                stop.set()
                return

    threading.Thread(target=watch, daemon=True, name="launcher-watch").start()


class Deadline:
    """When an element must end, and whether another clip fits in before that.

    Parameters
    ----------
    minutes
        Time limit that was asked of SLURM, which tells no job when it ends; 0: none.
    """

    RESERVE_SECONDS = 120.0
    """For ending in order; of a very short limit a quarter."""

    def __init__(self, minutes: float) -> None:
        seconds = minutes * 60 - min(self.RESERVE_SECONDS, minutes * 15)
        self._ends_at = time.monotonic() + seconds if minutes else math.inf
        self._longest = 0.0
        self.refused = False

    def note(self, seconds: float) -> None:
        """Remember how long a clip took."""
        self._longest = max(self._longest, seconds)

    def allows_another(self) -> bool:
        """Whether one more clip, half as long again as the longest so far, ends in time."""
        if time.monotonic() + 1.5 * self._longest < self._ends_at:
            return True
        self.refused = True
        return False
