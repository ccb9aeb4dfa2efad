"""The result of one check; a check that fails or hangs becomes a result like the others."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from vmafarm.common.errors import UNAVAILABLE, UnavailableError, VmafarmError, show
from vmafarm.common.layout import wrapped
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.disk.jsonl import Text
from vmafarm.disk.readable import denied_by
from vmafarm.images.inside import BUILD, read_build

State = Literal["ok", "warning", "failed", "skipped"]
_T = TypeVar("_T")

_ANSWER_SECONDS = 60.0
"""If a file server is gone, every call waits forever."""
_END_SECONDS = 2.0


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes
    ----------
    name
        What was checked.
    state
        ``skipped``: not needed, or cannot be checked here.
    message
        What was found.
    hint
        What to do about it; may be empty.
    exit_status
        Exit status of the command if this is the worst result: 0 unless failed.
    """

    name: Annotated[str, Field(strict=True, pattern="^[ -~]{1,60}$")]
    state: State
    message: Text
    hint: Text = ""
    exit_status: Annotated[int, Field(strict=True, ge=0, le=UNAVAILABLE)] = 0


@dataclass(frozen=True)
class Machine:
    """What the checks know about the machine they run on.

    Attributes
    ----------
    environment
        Environment variables.
    driver
        File with the version of the NVIDIA driver.
    build
        File that records how an image was built.
    mounts
        The kernel's list of mounted file systems.
    """

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    driver: Path = Path("/proc/driver/nvidia/version")
    build: Path = BUILD
    mounts: Path = Path("/proc/self/mountinfo")

    @property
    def in_image(self) -> bool:
        """Whether this process runs inside an image of this toolkit."""
        return bool(read_build(self.build))

    def works_for(self, config: Config) -> bool:
        """Whether clips are scored on this machine, which they are not on a login node.

        A login node may lack a GPU, its driver and the nodes' scratch disk; that is not an error.
        """
        if "SLURM_JOB_ID" in self.environment:
            return True
        return not (config.slurm.image or config.slurm.partition or shutil.which("sbatch"))


def attempt(name: str, check: Callable[[], CheckResult]) -> CheckResult:
    """Run one check and turn its error into a result, so that the other checks still run."""
    try:
        return check()
    except VmafarmError as error:
        return CheckResult(name, "failed", error.message, error.hint, error.exit_code)
    except OSError as error:
        if refused := denied_by(error):
            return CheckResult(name, "failed", refused.message, refused.hint, UNAVAILABLE)
        where = f"{show(os.fsdecode(error.filename))}: " if error.filename is not None else ""
        return CheckResult(name, "failed", f"{where}{error.strerror or error}", "", UNAVAILABLE)


def in_time(what: str, call: Callable[[], _T], seconds: float | None = None) -> _T:
    """Return the result of a call that may hang in the kernel, where no signal ends it.

    Parameters
    ----------
    what
        Named in the message.
    call
        Runs in a thread of its own, which is abandoned if it does not end; must be harmless then.
    seconds
        Deadline; None: one minute.

    Raises
    ------
    UnavailableError
        It did not end in time.
    """
    seconds = _ANSWER_SECONDS if seconds is None else seconds
    results: list[_T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    # A daemon thread: the interpreter exits without waiting for it.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        thread.join(seconds)
    except BaseException:
        thread.join(_END_SECONDS)  # on Ctrl-C it may still be removing its probe
        raise
    if errors:
        raise errors[0]
    if not results:
        raise UnavailableError(
            f"{show(what)}: no answer within {seconds:.0f} s",
            "check that its file system is mounted and its server answers",
        )
    return results[0]


def exit_status(results: Sequence[CheckResult]) -> int:
    """Exit status of the command: that of the worst failure."""
    return max((result.exit_status for result in results), default=0)


def lines(results: Sequence[CheckResult]) -> list[str]:
    """Results as lines that fit the terminal: state, name and message, with the hint below."""
    width = max((len(result.name) for result in results), default=0)
    found: list[str] = []
    for result in results:
        state = result.state.upper() if result.state == "failed" else result.state
        first = f"{state:<8} {result.name:<{width}} "
        for at, line in enumerate(result.message.splitlines() or [""]):
            found += wrapped(line, " " * len(first) if at else first)
        for line in result.hint.splitlines():
            found += wrapped(line, " " * (len(first) + 2))
    counts = dict.fromkeys(("ok", "warning", "failed", "skipped"), 0)
    for result in results:
        counts[result.state] += 1
    listed = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return [*found, f"{counted(len(results), 'check')}: {listed}"]
