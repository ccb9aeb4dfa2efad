"""Find, kill and reap all processes that a child process leaves behind.

A process group is not enough, as a grandchild that calls setsid leaves it. While children of this process
are running, it is a subreaper: the kernel reparents their orphaned descendants to it. Each descendant carries
the tag of the child that it descends from.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from operator import call
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
PRCTL = ctypes.PyDLL(None).prctl
PRCTL.argtypes = (ctypes.c_int, ctypes.c_ulong)
_SETRLIMIT = ctypes.PyDLL(None).setrlimit
_RLIMIT_LOCKS = 10
"""Its soft limit holds the tag. fork and exec pass it on, even if a process closes all files and clears its
environment; any process can read it, even that of a zombie; and Linux has not enforced it since 2.4."""
_TAG = re.compile(rb"^Max file locks +(\d+)", re.MULTILINE)
_RANDOM_BITS = 46
_MAGIC = 0x7666
_END_SECONDS = 5.0
"""Then processes that SIGKILL did not end are given up: blocked in the kernel, or another user's."""
_LOOK_SECONDS = 0.001

_lock = threading.Lock()
_at_work: set[int] = set()
_INHERITED = resource.getrlimit(_RLIMIT_LOCKS)[0]
"""The tag of this process if it is itself a descendant of such a child: all of its children inherit it."""


class Limit(ctypes.Structure):
    """struct rlimit."""

    _fields_ = (("soft", ctypes.c_ulong), ("hard", ctypes.c_ulong))


class Descendants:
    """All descendants of one child of this process.

    Start the child with `start`, or have it make the `calls`. Call `end` once it has ended.
    """

    def __init__(self) -> None:
        self._tag = _MAGIC << _RANDOM_BITS | int.from_bytes(os.urandom(8)) >> 64 - _RANDOM_BITS
        with _lock:
            _at_work.add(self._tag)
            _adopt(True)

    def calls(self) -> list[Callable[[], object]]:
        """Return the calls that the child makes between fork and exec; only C functions, see `in_child`.

        The child becomes a subreaper, too: no descendant leaves the tree below it while it lives, so that all
        of them count towards its memory limit.
        """
        hard = ctypes.c_ulong(resource.getrlimit(_RLIMIT_LOCKS)[1]).value
        limit = Limit(min(self._tag, hard), hard)
        return [
            partial(PRCTL, _PR_SET_CHILD_SUBREAPER, 1),
            partial(_SETRLIMIT, _RLIMIT_LOCKS, ctypes.pointer(limit)),
        ]

    def start(
        self, command: Sequence[str], calls: Iterable[Callable[[], object]] = (), **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start the child.

        Parameters
        ----------
        command
            Argument list.
        calls
            More calls between fork and exec; see `in_child`.
        **options
            Options of `subprocess.Popen`.

        Raises
        ------
        OSError
            It cannot be started.
        """
        try:
            return subprocess.Popen(command, preexec_fn=in_child((*self.calls(), *calls)), **options)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Kill and reap what the child left. It must have been waited for. Safe to call twice."""
        with _lock:
            _at_work.discard(self._tag)
        ends_at = time.monotonic() + _END_SECONDS
        while self._tag in kill_orphans() and time.monotonic() < ends_at:
            time.sleep(_LOOK_SECONDS)
        with _lock:
            _adopt(bool(_at_work))


def kill_orphans() -> set[int]:
    """Kill and reap once the orphans that were reparented to this process; does not wait for them to end.

    Only children of this process are killed, so that their process IDs cannot have been reused; what they
    leave is reparented to this process in turn. Descendants of a running child are spared, and so are
    children that were started in another way.

    Returns
    -------
    set of int
        Tags of the orphans found. If there are any, call again: they may have left others.
    """
    found = set()
    with _lock:  # the list of children is exact only while no other thread reaps one
        for pid in _children():
            tag = _tag_of(pid)
            if tag >> _RANDOM_BITS != _MAGIC or tag in _at_work or tag == _INHERITED:
                continue
            found.add(tag)
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
    return found


@contextmanager
def orphans_ended() -> Iterator[None]:
    """Adopt the engines that killed descendants leave behind, and kill them on exit.

    Within the context, `kill_orphans` kills them.
    """
    keeper = Descendants()
    try:
        yield
    finally:
        _end_orphans()
        keeper.end()


def _end_orphans() -> None:
    ends_at = time.monotonic() + _END_SECONDS
    while kill_orphans() and time.monotonic() < ends_at:
        time.sleep(_LOOK_SECONDS)


def kill_tree(pid: int) -> set[int]:
    """Kill a child of this process and all of its descendants, and wait until they have ended.

    Parameters
    ----------
    pid
        Process ID of the child; the caller reaps it.

    Returns
    -------
    set of int
        Process IDs of those that SIGKILL did not end.
    """
    tree = [pid]
    for one in tree:
        tree += _children(str(one))
    ends_at = time.monotonic() + _END_SECONDS
    left = set(tree)
    while left and time.monotonic() < ends_at:
        for one in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(one, signal.SIGKILL)
        time.sleep(_LOOK_SECONDS)
        left = {one for one in left if _is_alive(one)}
    return left


def _is_alive(pid: int) -> bool:
    try:
        return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def in_child(calls: Iterable[Callable[[], object]]) -> Callable[[], object]:
    """Combine several calls into one ``preexec_fn``.

    It runs in the child between fork and exec, where a lock that another thread held stays locked for ever.
    So these calls must be C functions, as the result is: Python code, traced by a coverage tool, has hung.
    """
    return partial(deque, map(call, calls), 0)


def _adopt(wanted: bool) -> None:
    PRCTL(_PR_SET_CHILD_SUBREAPER, wanted or _WAS_SUBREAPER)


def _is_subreaper() -> bool:
    answer = ctypes.c_int()
    PRCTL(_PR_GET_CHILD_SUBREAPER, ctypes.addressof(answer))
    return bool(answer.value)


_WAS_SUBREAPER = _is_subreaper()


def _children(process: str = "self") -> list[int]:
    """List children, by default of this process, with zombies; empty if the kernel does not list them."""
    found: list[int] = []
    for thread in _list(f"/proc/{process}/task"):
        with suppress(OSError):  # the thread has ended, and another one has its children
            found += map(int, _read(f"/proc/{process}/task/{thread}/children").split())
    return found


def _list(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names are enough
    except OSError:
        return []


def _tag_of(pid: int) -> int:
    try:
        match = _TAG.search(_read(f"/proc/{pid}/limits"))
    except OSError:
        return 0
    return int(match[1]) if match else 0


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        return file.readall()
