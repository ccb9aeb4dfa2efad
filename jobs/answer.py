"""Programs that answer quickly: what they print, and nothing of them is left running."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from jobs.descendants import Descendants

_MOST_BYTES = 1 << 28
"""Of what a program prints: squeue has some 100 bytes for each of a million jobs."""
_PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class Answer:
    """How a program has ended.

    Attributes
    ----------
    status
        Exit status; below 0 the signal that has killed it.
    said, complaints
        What it printed, and that to its error output; bytes that are no UTF-8 replaced.
    """

    status: int
    said: str
    complaints: str

    def why(self) -> str:
        """Why it has failed, in its own words where it has any: the last ones, if they are many."""
        lines = (self.complaints.strip() or self.said.strip()).splitlines()
        if lines:
            return "\n".join(line[:_LONGEST] for line in lines[-_LINES:])
        if self.status < 0:
            return f"it was killed by {signal.Signals(-self.status).name}, and said nothing"
        return f"it ended with {self.status}, and said nothing"


_LINES, _LONGEST = 6, 500


def ask(command: Sequence[str], seconds: float) -> Answer:
    """Run a program, and wait for its own end, whoever else holds its output.

    Parameters
    ----------
    command
        The command line.
    seconds
        Until it is ended.

    Raises
    ------
    OSError
        It cannot be started.
    TimeoutError
        It did not end in time, or printed more than anybody reads.
    """
    with _file() as said, _file() as complaints:
        descendants = Descendants()
        process = descendants.start(
            list(command), stdin=subprocess.DEVNULL, stdout=said.fileno(), stderr=complaints.fileno(),
            start_new_session=True,
        )  # fmt: skip
        try:
            ends_at = time.monotonic() + seconds
            while process.poll() is None:
                if time.monotonic() > ends_at:
                    raise TimeoutError(f"gave no answer within {seconds:.0f} s")
                if max(os.fstat(file.fileno()).st_size for file in (said, complaints)) > _MOST_BYTES:
                    raise TimeoutError(f"printed more than {_MOST_BYTES:,} bytes")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_PAUSE_SECONDS)
        finally:
            # What it has started, too; also where an interrupt ends the wait.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            descendants.end()
        texts = []
        for file in (said, complaints):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
        return Answer(process.returncode, *texts)


def _file() -> BinaryIO:
    # Not a pipe: a child of the program could hold that open for as long as it likes.
    return os.fdopen(os.memfd_create("vmafarm-answer", os.MFD_CLOEXEC), "w+b")
