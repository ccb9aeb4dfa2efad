"""What a check found, and how a check that fails, or hangs, becomes one finding among the others."""

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
from vmafarm.images.inside import BUILD, read_build

State = Literal["ok", "warning", "failed", "skipped"]
Result = TypeVar("Result")

_ANSWER_SECONDS = 60.0
"""A file server that is gone makes every call wait for ever."""
_END_SECONDS = 2.0


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    name
        What was checked.
    state
        ``skipped``: not asked for, or it cannot be found out here.
    message
        What was found.
    hint
        What to do about it, or "".
    exit_status
        Of the command, if this is the worst: 0 unless failed.
    """

    name: Annotated[str, Field(strict=True, pattern="^[ -~]{1,60}$")]
    state: State
    message: Text
    hint: Text = ""
    exit_status: Annotated[int, Field(strict=True, ge=0, le=UNAVAILABLE)] = 0


@dataclass(frozen=True)
class Machine:
    """What the checks know of the machine they run on.

    Attributes
    ----------
    environment
        Environment variables.
    driver
        Where the NVIDIA driver tells its version.
    build
        Where an image tells how it was built.
    mounts
        The kernel's list of mounted file systems.
    """

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    driver: Path = Path("/proc/driver/nvidia/version")
    build: Path = BUILD
    mounts: Path = Path("/proc/self/mountinfo")

    @property
    def in_image(self) -> bool:
        """Whether this process runs inside one of our images."""
        return bool(read_build(self.build))

    def works_for(self, config: Config) -> bool:
        """Whether clips are scored on this very machine; on a login node they are not.

        A login node may lack a GPU, its driver and the nodes' scratch disk: no fault there.
        """
        if "SLURM_JOB_ID" in self.environment:
            return True
        return not (config.slurm.image or config.slurm.partition or shutil.which("sbatch"))


def attempt(name: str, check: Callable[[], Finding]) -> Finding:
    """Run one check; its error is a finding, so that the others still get their turn."""
    try:
        return check()
    except VmafarmError as error:
        return Finding(name, "failed", error.message, error.hint, error.exit_code)
    except OSError as error:
        where = f"{show(os.fsdecode(error.filename))}: " if error.filename is not None else ""
        return Finding(name, "failed", f"{where}{error.strerror or error}", "", UNAVAILABLE)


def in_time(what: str, call: Callable[[], Result], seconds: float | None = None) -> Result:
    """Result of a call that may hang in the kernel, which no signal ends.

    Parameters
    ----------
    what
        Named in the message.
    call
        Must leave nothing half done that matters: if it does not end, nobody waits for it.
    seconds
        None: one minute.

    Raises
    ------
    UnavailableError
        It did not end.
    """
    seconds = _ANSWER_SECONDS if seconds is None else seconds
    results: list[Result] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    # A daemon: the interpreter does not wait for it at the end.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        thread.join(seconds)
    except BaseException:
        thread.join(_END_SECONDS)  # Ctrl-C: it may just be removing its probe
        raise
    if errors:
        raise errors[0]
    if not results:
        raise UnavailableError(
            f"{show(what)}: no answer within {seconds:.0f} s",
            "is its file system mounted, and does its server answer?",
        )
    return results[0]


def exit_status(findings: Sequence[Finding]) -> int:
    """Exit status of the command: the worst of what failed."""
    return max((finding.exit_status for finding in findings), default=0)


def lines(findings: Sequence[Finding]) -> list[str]:
    """Findings as lines that fit the terminal: state, name, message; hints below."""
    width = max((len(finding.name) for finding in findings), default=0)
    found: list[str] = []
    for finding in findings:
        state = finding.state.upper() if finding.state == "failed" else finding.state
        first = f"{state:<8} {finding.name:<{width}} "
        for at, line in enumerate(finding.message.splitlines() or [""]):
            found += wrapped(line, " " * len(first) if at else first)
        for line in finding.hint.splitlines():
            found += wrapped(line, " " * (len(first) + 2))
    counts = dict.fromkeys(("ok", "warning", "failed", "skipped"), 0)
    for finding in findings:
        counts[finding.state] += 1
    listed = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return [*found, f"{counted(len(findings), 'check')}: {listed}"]
