"""When a process is to stop: signals, and the end of the one that started it."""

from __future__ import annotations

import os
import signal
import threading
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
