"""What the end of a program means, whichever it is: time, memory, signals."""

from __future__ import annotations

import errno
import os
import re
import signal

from vmafarm.process.finished import Finished
from vmafarm.process.scratch import check_scratch, scratch_error

_QUOTED = re.compile(r"^(?:\s.*|(?:\[[^\]]* @ 0x[0-9a-f]+\] )*\[(?:info|verbose|debug)\].*)$", re.MULTILINE)
"""Lines in which ffmpeg repeats a file's own metadata, such as its title: never a complaint."""


def common_diagnosis(finished: Finished) -> tuple[str, str] | None:
    """Failures that mean the same for every engine: time, memory, signals.

    Raises
    ------
    UnavailableError
        See `stopped_from_outside`.
    """
    if (found := stopped_from_outside(finished)) is not None:
        return found
    if finished.returncode != 0 and complains_of_memory(finished):
        return "out_of_memory", "the engine could not allocate memory"
    return None


def stopped_from_outside(finished: Finished, memory: str = "engine_memory") -> tuple[str, str] | None:
    """Failures imposed from outside: time, too much memory, signals.

    Parameters
    ----------
    finished
        The program.
    memory
        Key of its memory limit.

    Raises
    ------
    UnavailableError
        The scratch folder is full or gone: a fault of this machine, not of a clip.
    """
    check_scratch(finished.folder)
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        if (reason := os.strerror(number)) in _complaints(finished):
            raise scratch_error(finished.folder, number, reason)
    if finished.timed_out:
        return "timeout", f"killed after {finished.seconds:.0f} s"
    if finished.excess and finished.excess.what == "memory":
        return "out_of_memory", f"killed with {finished.excess}, more than extract.{memory}"
    if finished.excess or finished.returncode == -signal.SIGXFSZ:
        return "bad_log", "killed because its log grew without end"
    if finished.returncode == -signal.SIGKILL:
        return "out_of_memory", "killed by SIGKILL from outside, as the kernel does when memory runs out"
    return None


def complains_of_memory(finished: Finished) -> bool:
    """Whether a program reports that an allocation failed."""
    lowered = _complaints(finished).lower()
    return "cannot allocate memory" in lowered or "enomem" in lowered


def _complaints(finished: Finished) -> str:
    return _QUOTED.sub("", finished.stderr)
