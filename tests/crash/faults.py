"""The durable path's calls of the system, counted, noted down, and made to fail where a test wants it.

Each call has two boundaries: 2k is the one before the k-th call, 2k + 1 the one after it. All
processes of a run count together, in files of a state folder beside the run, which a kill does not
touch. What is noted there is enough to tell, once all processes are dead, what a power loss would
have taken: see `crash.power`.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from vmafarm.disk import durable
from vmafarm.disk.syscalls import System

_HARMLESS_WHEN_FULL = ("truncate", "unlink")


class CrashError(BaseException):
    """The process is dead, as far as a test within one process goes: no call does anything any more."""


@dataclass(frozen=True)
class Faults:
    """What is to happen.

    Attributes
    ----------
    state
        Folder for counters, notes and hard links; on the file system of `root`.
    root
        What lies outside is passed on to the system, neither counted nor noted.
    at
        Boundary at which it happens; -1: never.
    what
        "kill" the whole process group; "tear": the same in the middle of a write; "stop" this process;
        "error"; "crash": raise CrashError, from then on always.
    error
        Its errno; a write that fails has written a part.
    lasting
        The error comes from then on, else once.
    skip
        A site (see `site`) whose fsyncs do nothing.
    skipped, further
        With `skip`, instead of `at`: so many calls after the fsync with this number (from 0) that was
        skipped; -1: not.
    """

    state: str
    root: str
    at: int = -1
    what: str = "kill"
    error: int = 0
    lasting: bool = False
    skip: str = ""
    skipped: int = -1
    further: int = 0

    def as_json(self) -> str:
        """For the environment of a process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Faults:
        """Read what `as_json` wrote."""
        return cls(**json.loads(text))


def install(faults: Faults) -> FaultySystem:
    """Have this process meet the faults."""
    system = FaultySystem(faults)
    durable.system = system
    return system


def boundaries(state: Path) -> int:
    """Boundaries that the processes have passed so far."""
    try:
        return 2 * int.from_bytes((state / "calls").read_bytes(), "little")
    except FileNotFoundError:
        return 0


class FaultySystem(System):
    """Passes calls on, or has them fail."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._state = Path(faults.state)
        self._root = os.path.join(os.path.realpath(faults.root), "")
        (self._state / "pins").mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._calls = os.open(self._state / "calls", flags)
        self._notes = os.open(self._state / "notes.jsonl", flags | os.O_APPEND)
        self._lock = threading.Lock()
        self._paths: dict[int, str] = {}
        self._dead = False
        self._at = faults.at
        self._skipped = 0

    def open(self, path: Path, flags: int, mode: int = 0o666) -> int:
        there = _inode(path)
        if not self._ours(path) or (flags & os.O_DIRECTORY):
            self._check_alive()
            descriptor = super().open(path, flags, mode)
        elif flags & os.O_CREAT and there is None:
            number = self._before("create", path=_real(path))
            known: dict[str, object] = {}
            with self._noted(number, known):
                descriptor = super().open(path, flags, mode)
                self._pin(path)
                known["inode"] = os.fstat(descriptor).st_ino
        else:
            self._check_alive()
            descriptor = super().open(path, flags, mode)
            self._pin(path)
            # Written by somebody who did not tell: nothing of it is durable yet.
            size = os.fstat(descriptor).st_size if flags & os.O_CREAT else 0
            self._note({"call": "open", "inode": there, "size": size})
        self._paths[descriptor] = _real(path)
        return descriptor

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        path = self._path(descriptor)
        if path is None:
            return super().write(descriptor, data)
        number = self._before("write", descriptor=descriptor, data=data, path=path)
        with self._noted(number):
            return super().write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        path = self._path(descriptor)
        if path is None:
            return super().fsync(descriptor)
        where = site()
        if where == self._faults.skip:
            self._skip()
            return None
        status = os.fstat(descriptor)
        folder = stat.S_ISDIR(status.st_mode)
        number = self._before("fsync", path=path, site=where)
        with self._noted(number, inode=status.st_ino, size=status.st_size, folder=folder):
            pass  # files are cut by what is on record; the disk would only take its time
        return None

    def _skip(self) -> None:
        if self._skipped == self._faults.skipped:
            number = int.from_bytes(os.pread(self._calls, 8, 0), "little")
            self._at = 2 * (number + self._faults.further)
        self._skipped += 1

    def truncate(self, descriptor: int, length: int) -> None:
        path = self._path(descriptor)
        if path is None:
            return super().truncate(descriptor, length)
        inode = os.fstat(descriptor).st_ino
        number = self._before("truncate", path=path, inode=inode, length=length)
        with self._noted(number):
            super().truncate(descriptor, length)
        return None

    def replace(self, source: Path, destination: Path) -> None:
        if not self._ours(destination):
            self._check_alive()
            return super().replace(source, destination)
        self._pin(destination)
        number = self._before(
            "replace", source=_real(source), path=_real(destination), inode=_inode(source),
            replaced=_inode(destination),
        )  # fmt: skip
        with self._noted(number):
            super().replace(source, destination)
        return None

    def link(self, source: Path, destination: Path) -> None:
        if not self._ours(destination):
            self._check_alive()
            return super().link(source, destination)
        number = self._before("link", path=_real(destination), inode=_inode(source))
        with self._noted(number):
            super().link(source, destination)
        return None

    def unlink(self, path: Path) -> None:
        if not self._ours(path):
            self._check_alive()
            return super().unlink(path)
        self._pin(path)
        number = self._before("unlink", path=_real(path), inode=_inode(path))
        with self._noted(number):
            super().unlink(path)
        return None

    def mkdir(self, path: Path) -> None:
        if not self._ours(path):
            self._check_alive()
            return super().mkdir(path)
        number = self._before("mkdir", path=_real(path))
        with self._noted(number):
            super().mkdir(path)
        return None

    def rmdir(self, path: Path) -> None:
        if not self._ours(path):
            self._check_alive()
            return super().rmdir(path)
        number = self._before("rmdir", path=_real(path))
        with self._noted(number):
            super().rmdir(path)
        return None

    def _ours(self, path: Path) -> bool:
        return (_real(path) + "/").startswith(self._root)

    def _path(self, descriptor: int) -> str | None:
        self._check_alive()
        path = self._paths.get(descriptor, "")
        # The folder above the root, too: it holds the root's own name.
        ours = (path + "/").startswith(self._root) or path == os.path.dirname(self._root[:-1])
        return path if ours else None

    def _check_alive(self) -> None:
        if self._dead:
            raise CrashError

    def _before(
        self, call: str, descriptor: int = -1, data: bytes | memoryview = b"", **known: object
    ) -> int:
        """Count the call, note what it is about to do, and have it fail if it is to."""
        self._check_alive()
        with self._lock:
            fcntl.flock(self._calls, fcntl.LOCK_EX)
            try:
                number = int.from_bytes(os.pread(self._calls, 8, 0), "little")
                os.pwrite(self._calls, (number + 1).to_bytes(8, "little"), 0)
                self._note({"call": call, "number": number, **known})
            finally:
                fcntl.flock(self._calls, fcntl.LOCK_UN)
        faults = self._faults
        here = self._at == 2 * number or (self._at // 2 == number and faults.what == "tear")
        if faults.what == "error" and faults.error:
            later = faults.lasting and 0 <= self._at < 2 * number
            if later and faults.error == errno.ENOSPC and call in _HARMLESS_WHEN_FULL:
                later = False
            if here or later:
                self._write_part(descriptor, data, number)
                self._note({"after": number, "failed": True})
                raise OSError(faults.error, os.strerror(faults.error))
        elif here:
            if faults.what == "tear":
                self._write_part(descriptor, data, number)
            self._end()
        return number

    def _write_part(self, descriptor: int, data: bytes | memoryview, number: int) -> None:
        if len(data) > 1:
            super().write(descriptor, data[: random.Random(number).randrange(1, len(data))])

    @contextmanager
    def _noted(self, number: int, known: dict[str, object] | None = None, **more: object) -> Iterator[None]:
        """Note how the call ended: what was done only counts once it stands there."""
        try:
            yield
        except OSError:
            self._note({"after": number, "failed": True})
            raise
        self._note({"after": number, **(known or {}), **more})
        if self._at == 2 * number + 1 and self._faults.what not in ("error", "tear"):
            self._end()

    def _end(self) -> None:
        if self._faults.what == "crash":
            self._dead = True
            raise CrashError
        if self._faults.what == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
            return
        os.killpg(os.getpgrp(), signal.SIGKILL)
        signal.pause()

    def expect(self, at: int) -> None:
        """Have it happen at another boundary (tests within one process)."""
        self._at = at

    def die(self) -> None:
        """Do nothing any more: the process of this system is dead (tests within one process)."""
        self._dead = True
        os.close(self._calls)
        os.close(self._notes)

    def _pin(self, path: Path) -> None:
        """Keep an inode for undoing what happens to its names; its number is not given to another file."""
        inode = _inode(path)
        if inode is not None:
            with suppress(FileExistsError):
                os.link(path, self._state / "pins" / str(inode))

    def _note(self, note: dict[str, object]) -> None:
        os.write(self._notes, json.dumps(note).encode() + b"\n")


def site() -> str:
    """Where in the package the running fsync was asked for: ``file:function:line``."""
    frame = sys._getframe(1)
    while (
        frame.f_code.co_name in ("fsync", "sync_names", "sync_folder", "_sync_names")
        or frame.f_code.co_filename == __file__
    ):
        assert frame.f_back is not None
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_code.co_name}:{frame.f_lineno}"


def _real(path: Path) -> str:
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)


def _inode(path: Path) -> int | None:
    try:
        return os.lstat(path).st_ino
    except (FileNotFoundError, NotADirectoryError):
        return None
