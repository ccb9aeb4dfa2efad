"""Signals as this process was started with them, and how it takes them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any


def is_ignored(number: signal.Signals) -> bool:
    """Whether this process ignores a signal; its starter wants it to stay ignored.

    nohup has SIGHUP ignored, and a script's ``&`` SIGINT.
    """
    return signal.getsignal(number) is signal.SIG_IGN


def take(numbers: Iterable[signal.Signals], handler: Callable[[int, Any], object]) -> dict[Any, Any]:
    """Call `handler` at these signals, those apart that are ignored; returns what was called before."""
    return {number: signal.signal(number, handler) for number in numbers if not is_ignored(number)}


def give_back(before: dict[Any, Any]) -> None:
    """Undo `take`."""
    for number, handler in before.items():
        signal.signal(number, handler)


@contextmanager
def ignored(*numbers: signal.Signals) -> Iterator[None]:
    """Ignore signals while this lasts; processes started meanwhile ignore them for good."""
    before = take(numbers, signal.SIG_IGN)  # type: ignore[arg-type]
    try:
        yield
    finally:
        give_back(before)


def hear_of_children() -> None:
    """Notice when children end, even where this process was started with SIGCHLD ignored.

    Their exit statuses would be lost then: each engine that fails would seem to succeed.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
