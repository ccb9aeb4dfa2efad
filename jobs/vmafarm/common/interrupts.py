"""Ctrl-C, SIGTERM and a terminal that is closed: the command ends within two seconds, or in order.

Python runs a signal's handler in the main thread, between two of its instructions: not while that thread
is in DuckDB, in pyarrow, or waits for other threads that are. The C part of the handler, though, writes
the signal's number to a descriptor at once. A thread reads it, interrupts DuckDB, and after a while ends
the process: whatever is durable is whole at every instant (`vmafarm.disk.durable`), and the programs at work
are killed with all that they have started.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from vmafarm.common.errors import INCOMPLETE
from vmafarm.common.signals import give_back, is_ignored, take

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
END_SECONDS = 0.8
"""For ending in order, before the process is ended."""
_TELL_SECONDS = 0.2
_KILL_SECONDS = 0.5
"""For killing what is at work; a process in a call of the kernel may take for ever to die."""
_PAUSE_SECONDS = 0.05
_IMPORT_SYSTEM = "<frozen importlib._bootstrap>"
"""File name of its code, also where C imports a module; Python leaves such frames out of tracebacks by it."""
_STOPPED = "stopped: run the same command again to go on; what is finished is kept"

_breaks: dict[object, Callable[[], object]] = {}
_kills: dict[object, Callable[[], object]] = {}
_words: list[Callable[[], str]] = []
_held: set[Path] = set()
_in_order: dict[object, tuple[int, ...]] = {}
_ending = threading.Event()
_lost = threading.Event()
_noting = threading.Event()
_last: list[int] = []
"""The signal that came last."""
_told = threading.Lock()


@contextmanager
def heard() -> Iterator[None]:
    """Have `SIGNALS` raise KeyboardInterrupt, once, and end the process soon; in the main thread.

    A signal that is ignored stays so.

    Raises
    ------
    SystemExit
        It was interrupted: that has been said, and what was held removed.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(target=_watch, args=(reader,), daemon=True, name="interrupts").start()
    woken_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    hook_before = sys.unraisablehook
    sys.unraisablehook = _without_interrupts(hook_before, writer)
    before: dict[Any, Any] = {}
    _words.clear()
    try:
        before = take(SIGNALS, partial(_interrupt, writer))
        yield
    except KeyboardInterrupt:
        _stop()
    except Exception:
        if is_ending():  # what the interrupt has become on its way here
            _stop()
        raise
    finally:
        _lost.clear()  # nobody takes it any more
        _last.clear()
        give_back(before)
        signal.set_wakeup_fd(woken_before)
        sys.unraisablehook = hook_before
        os.close(writer)


def _without_interrupts(tell: Callable[[Any], object], writer: int) -> Callable[[Any], object]:
    """Have an interrupt that Python cannot raise where it came, as in a fork, raised once more soon."""

    def hook(lost: Any) -> None:
        if isinstance(lost.exc_value, KeyboardInterrupt) and _last:
            _noting.set()
            _come_again(writer)
            _noting.clear()
        else:
            tell(lost)

    return hook


def _come_again(writer: int) -> None:
    """Have the signal that came last come once more soon."""
    _lost.set()
    with suppress(OSError):  # full: the thread that reads it is awake
        os.write(writer, bytes(_last))


@contextmanager
def breaking(call: Callable[[], object]) -> Iterator[None]:
    """Have `call` called, in another thread and until the process has ended, once it is to end."""
    with _noted(_breaks, call):
        yield


@contextmanager
def killing(call: Callable[[], object]) -> Iterator[None]:
    """Have `call` called, once and in another thread, if the process is ended without the main thread."""
    with _noted(_kills, call):
        yield


@contextmanager
def telling(words: Callable[[], str]) -> Iterator[None]:
    """Have these said of an interrupt that comes meanwhile: the same command does not go on from here."""
    _words.append(words)
    try:
        yield
    except KeyboardInterrupt:
        raise  # they are still to be said
    except Exception:
        if not is_ending():
            _words.remove(words)
        raise
    else:
        _words.remove(words)


def tell_from_now_on(words: str) -> None:
    """Have this said of an interrupt until the command ends: all is done, and need not be done again."""
    _words.append(lambda: words)


def hold(path: Path) -> None:
    """Have a file or folder of this process's own removed should the process be stopped, until `release`."""
    _held.add(path)


def release(path: Path) -> None:
    """It is gone, or is to stay."""
    _held.discard(path)


@contextmanager
def in_order(*numbers: int) -> Iterator[None]:
    """Let these signals (none: all) take what time it takes: there is something to end in order."""
    with _noted(_in_order, numbers or SIGNALS):
        yield


@contextmanager
def _noted(notes: dict[object, Any], note: Any) -> Iterator[None]:
    key = object()
    notes[key] = note
    try:
        yield
    finally:
        del notes[key]


def is_ending() -> bool:
    """Whether the process is to end, and soon."""
    return _ending.is_set()


def _stop() -> NoReturn:
    _flush()
    _tell()
    _clean_up()
    raise SystemExit(INCOMPLETE) from None


def _tell() -> None:
    if _told.acquire(blocking=False):
        with suppress(OSError):
            os.write(2, f"{_words[-1]() if _words else _STOPPED}\n".encode())


def _clean_up() -> None:
    if not _held:  # an import waits for those of the main thread
        return
    for path in list(_held):
        with suppress(OSError):
            if not path.is_dir():
                path.unlink()
            else:
                shutil.rmtree(path, ignore_errors=True)


def _interrupt(writer: int, number: int, frame: FrameType | None) -> None:
    _last[:] = [number]
    if _noting.is_set():  # it would be lost here once more; it is still noted as such, and comes again
        return
    if _is_importing(frame):  # a C++ module aborts the process if it is interrupted as it sets itself up
        _come_again(writer)
        return
    if _is_in_order(number):
        _lost.clear()
        raise KeyboardInterrupt
    # Once: another one would disturb the ending that the first one began.
    if not _ending.is_set() or _lost.is_set():
        _lost.clear()
        _ending.set()
        raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename != _IMPORT_SYSTEM:
        frame = frame.f_back
    return frame is not None


def _is_in_order(number: int) -> bool:
    return any(number in numbers for numbers in list(_in_order.values()))


def _watch(reader: int) -> None:
    while numbers := os.read(reader, 64):
        for number in numbers:
            if number in SIGNALS and not is_ignored(signal.Signals(number)):
                _end(number)
    os.close(reader)


def _end(number: int) -> None:
    ends_at = time.monotonic() + END_SECONDS
    # What is to end in order is not ended from here: an interrupt of it that is lost comes until it is not.
    while time.monotonic() < ends_at or (_lost.is_set() and _is_in_order(number)):
        if _lost.is_set():
            time.sleep(_PAUSE_SECONDS)
            signal.pthread_kill(threading.main_thread().ident or 0, number)
        elif _is_in_order(number):
            return
        else:
            _call(_breaks)
        time.sleep(_PAUSE_SECONDS)
    if _is_in_order(number):
        return
    _tell()
    _within(_KILL_SECONDS, partial(_call, _kills))  # before the folders that it works in are removed
    _clean_up()
    # What was printed may wait in a buffer, whose lock the main thread may hold.
    _within(_TELL_SECONDS, _flush)
    os._exit(INCOMPLETE)


def _within(seconds: float, call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call, daemon=True)
    with suppress(RuntimeError):  # no more threads may be started here
        thread.start()
        thread.join(seconds)


def _call(noted: dict[object, Callable[[], object]]) -> None:
    # In a function of its own: as the interpreter ends, this thread refers to no connection.
    for call in list(noted.values()):
        with suppress(Exception):  # it has ended meanwhile
            call()


def _flush() -> None:
    with suppress(BaseException):
        sys.stdout.flush()
