"""The program apptainer: where it is, what it answers, and builds, which take long."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pydantic

from vmafarm.common.errors import IncompleteError, UnavailableError, show
from vmafarm.disk.jsonl import parse_json
from vmafarm.disk.regular_files import MOST_BYTES_OF_DOCUMENT
from vmafarm.process.descendants import Descendants
from vmafarm.process.run import TERMINATE_WITH_PARENT
from vmafarm.process.run import ask as run_and_keep

_T = TypeVar("_T")

BUILD_SECONDS = 6 * 3600.0
"""The fork with nvcc takes minutes, the download of its base on a slow line may take an hour."""
_ASK_SECONDS = 120.0
"""A SIF on a busy shared file system opens slowly."""
_END_SECONDS = 15.0
"""What Apptainer gets to clean up; files of subordinate users are removed by nobody else."""
_POLL_SECONDS = 0.2
"""Between two looks at whether a build has ended that prints nothing."""
_READ_BYTES = 64 * 1024
_MOST_READS = 64
"""Of what is in the pipe when a build has ended: who was left with it may go on writing."""
_LINE_BYTES = 16 * 1024
"""What is kept of a line; the rest of a longer one is passed over."""
_KEPT_LINES = 25
_SHOWN_LINES = 12
_HINTS = (
    (
        r"error: .*(?:has not|lacks|is not there|cannot score|does not|holds the driver)",
        "the image's own test (%test) failed: its message says what is missing; nothing was written",
    ),
    (
        r"subuid|subgid|newuidmap|fakeroot.*(?:not|fail)",
        "this user cannot build with --fakeroot here: entries in /etc/subuid and /etc/subgid, and newuidmap, "
        "are needed; or build on another machine and copy the image",
    ),
    (
        r"no space left on device|disk quota",
        "building takes several times the image's size: set APPTAINER_TMPDIR and APPTAINER_CACHEDIR to "
        "folders on a larger local disk",
    ),
    (
        r"x509|certificate verify failed|self.signed certificate",
        "behind a proxy with a certificate authority of its own: --wheelhouse, and "
        "--bind /etc/ssl/certs/ca-certificates.crt",
    ),
    (
        r"could not resolve|temporary failure|network is unreachable|connection (?:refused|timed)|dial tcp",
        "the build has no network: containers/README.md tells how to build from local files",
    ),
)
"""What the last lines of a build may hold, and what to do then; the first that matches."""


def find_apptainer() -> Path:
    """The program apptainer.

    Raises
    ------
    UnavailableError
        It is not there.
    """
    found = shutil.which("apptainer")
    if found is None:
        raise UnavailableError(
            "the program apptainer is not there: images need it",
            "install Apptainer 1.2 or newer (package apptainer), load its module where the site has "
            "one (module load apptainer), or do this on a machine that has it",
        )
    return Path(found).absolute()


def ask(command: list[str], *, seconds: float | None = None, statuses: Collection[int] = (0,)) -> str:
    """Standard output of a command that answers quickly; nothing of it is left running.

    Parameters
    ----------
    command
        The command line.
    seconds
        Until it is ended; None: two minutes.
    statuses
        Exit statuses with which it has answered.

    Raises
    ------
    UnavailableError
        It fails, or does not end.
    """
    seconds = _ASK_SECONDS if seconds is None else seconds
    shown = " ".join(command[:2])
    try:
        finished = run_and_keep(command, seconds=seconds)
    except OSError as error:
        raise UnavailableError(f"cannot run {show(command[0])}: {error.strerror}") from None
    if finished.timed_out:
        raise UnavailableError(f"{shown} gave no answer within {seconds:.0f} s")
    if finished.returncode not in statuses:
        raise UnavailableError(f"{shown} failed: {finished.why(3)}")
    return finished.stdout


def parse_answer(said: str, adapter: pydantic.TypeAdapter[_T]) -> _T:
    """What an image or Apptainer has answered as JSON; an image may answer anything.

    Raises
    ------
    ValueError
        It is not of this type, or has more than `MOST_BYTES_OF_DOCUMENT`.
    """
    answer = said.encode()
    if len(answer) > MOST_BYTES_OF_DOCUMENT:
        raise ValueError(f"{len(answer):,} bytes, expected at most {MOST_BYTES_OF_DOCUMENT:,}")
    return adapter.validate_python(parse_json(answer))


def build(command: Sequence[str], folder: Path, say: Callable[[str], None]) -> None:
    """Run a build, passing its lines on as they come; it never outlives this function.

    Raises
    ------
    IncompleteError
        It failed or did not end.
    """
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    descendants = Descendants()
    process = descendants.start(
        command, [TERMINATE_WITH_PARENT], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        for raw in _lines(_output(process, time.monotonic() + BUILD_SECONDS)):
            line = show(raw.decode("utf-8", "replace").expandtabs().rstrip())
            lines.append(line)
            say(line)
        status = process.poll()
    finally:
        try:
            _end(process)
        finally:  # an interrupt may come meanwhile
            descendants.end()
    if status == 0:
        return
    tail = [line for line in lines if line][-_SHOWN_LINES:]
    late = f"did not end within {BUILD_SECONDS / 3600:.0f} h"
    how = late if status is None else f"failed (exit status {status})"
    raise IncompleteError(
        f"apptainer build {how}; its last lines:\n" + "\n".join(tail), _hint("\n".join(tail))
    )


def _hint(tail: str) -> str:
    return next((hint for pattern, hint in _HINTS if re.search(pattern, tail, re.IGNORECASE)), "")


def _output(process: subprocess.Popen[bytes], ends_at: float) -> Iterator[bytes]:
    """What it prints until it has ended, whoever holds its pipe then, or until `ends_at`."""
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    os.set_blocking(pipe, False)
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    while process.poll() is None and time.monotonic() < ends_at:
        if poller.poll(_POLL_SECONDS * 1000):
            data = os.read(pipe, _READ_BYTES)
            if not data:
                poller.unregister(pipe)  # all have closed it; that it has ended is seen soon
            yield data
    for _ in range(_MOST_READS):
        try:
            data = os.read(pipe, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            return
        yield data


def _lines(output: Iterable[bytes]) -> Iterator[bytes]:
    begun = b""
    for data in output:
        *lines, begun = (begun + data).split(b"\n")
        begun = begun[:_LINE_BYTES]
        for line in lines:
            yield line[:_LINE_BYTES]
    if begun:
        yield begun


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the whole group to end, then make it."""
    try:
        if process.poll() is None:
            _signal(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
    finally:  # an interrupt may come meanwhile
        _signal(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
