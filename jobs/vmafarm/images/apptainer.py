"""The program apptainer: find it, ask it, and run builds, which take long."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections import deque
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

import pydantic

from vmafarm.common.errors import IncompleteError, UnavailableError, UsageError, show
from vmafarm.disk.jsonl import parse_json
from vmafarm.disk.regular_files import MOST_BYTES_OF_DOCUMENT
from vmafarm.process.environment import without_foreign
from vmafarm.process.follow import follow
from vmafarm.process.run import ask as run_and_keep

_T = TypeVar("_T")

BUILD_SECONDS = 6 * 3600.0
"""Compiling the fork with nvcc takes minutes; downloading its base over a slow line may take an hour."""
_ASK_SECONDS = 120.0
"""A SIF on a busy shared file system opens slowly."""
_KEPT_LINES = 25
_SHOWN_LINES = 12
_UNKNOWN_ARGUMENT = "unused build args"
_HINTS = (
    (_UNKNOWN_ARGUMENT, "the recipe has no such build argument; containers/README.md lists those it has"),
    (
        r"stat /bin/sh: no such file",
        "the base has no shell, which a recipe needs: distroless images, such as the fork's for the CPU, can "
        "be no base; take the fork's image for CUDA (-cuda13), or build from source (apptainer.def)",
    ),
    (
        r"subuid|subgid|newuidmap|fakeroot.*(?:not|fail)",
        "--fakeroot needs entries for this user in /etc/subuid and /etc/subgid, and newuidmap; or build on "
        "another machine and copy the image",
    ),
    (
        r"no space left on device|disk quota",
        "a build needs several times the size of the image: set APPTAINER_TMPDIR and APPTAINER_CACHEDIR to "
        "folders on a larger local disk",
    ),
    (
        r"x509|certificate verify failed|self.signed certificate",
        "behind a proxy with its own certificate authority: use --wheelhouse and "
        "--bind /etc/ssl/certs/ca-certificates.crt",
    ),
    (
        r"could not resolve|temporary failure|network is unreachable|connection (?:refused|timed)|dial tcp",
        "the build has no network: containers/README.md shows how to build from local files",
    ),
)
"""Patterns in the last lines of a build, and what to do; the first match counts."""


def find_apptainer(program: str = "apptainer") -> Path:
    """Find the program apptainer, or singularity.

    Raises
    ------
    UnavailableError
        It is not in PATH.
    """
    found = shutil.which(program)
    if found is None:
        if program == "singularity":
            raise UnavailableError(
                'no program singularity in PATH: slurm.container = "singularity" needs it',
                "load its module if the site has one (module load singularity), or use a machine that has it",
            )
        raise UnavailableError(
            "no program apptainer in PATH: images need it",
            "install Apptainer 1.2 or newer (package apptainer), load its module if the site has one "
            "(module load apptainer), or use a machine that has it",
        )
    return Path(found).absolute()


def why_it_unpacks(program: str = "apptainer", device: Path = Path("/dev/fuse")) -> str:
    """Say why this machine's program unpacks an image at each start instead of mounting it; empty: it mounts.

    Without setuid it mounts images by FUSE, with squashfuse. See
    https://apptainer.org/docs/admin/main/installation.html.

    Parameters
    ----------
    program
        ``apptainer`` or ``singularity``.
    device
        Of FUSE.
    """
    try:
        settings = ask([str(find_apptainer(program)), "buildcfg"])
    except UnavailableError:
        return ""
    found = re.search(r"^LIBEXECDIR=(/\S+)$", settings, re.MULTILINE)
    if not found or os.geteuid() == 0:
        return ""
    own = Path(found[1], program, "bin")
    # Packages build it with setuid and leave the helper out: the setting alone does not tell.
    if _has_setuid(own / "starter-suid"):
        return ""
    if not device.exists():
        return f"{program} has no setuid helper here, and there is no {device}"
    if not any(shutil.which(name, path=_with(own)) for name in ("squashfuse_ll", "squashfuse")):
        return f"{program} has no setuid helper here, and there is no program squashfuse_ll or squashfuse"
    return ""


def _has_setuid(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return bool(status.st_mode & stat.S_ISUID) and status.st_uid == 0


def _with(folder: Path) -> str:
    return os.pathsep.join((str(folder), os.environ.get("PATH", os.defpath)))


def ask(command: list[str], *, seconds: float | None = None, statuses: Collection[int] = (0,)) -> str:
    """Return the standard output of a command that answers quickly; none of its processes keeps running.

    Parameters
    ----------
    command
        The command line.
    seconds
        Until it is killed; None: two minutes.
    statuses
        Exit statuses that mean success.

    Raises
    ------
    UnavailableError
        It fails, or does not end in time.
    """
    seconds = _ASK_SECONDS if seconds is None else seconds
    shown = " ".join(command[:2])
    try:
        finished = run_and_keep(command, seconds=seconds, environment=without_foreign(os.environ))
    except OSError as error:
        raise UnavailableError(f"cannot run {show(command[0])}: {error.strerror}") from None
    if finished.timed_out:
        raise UnavailableError(f"{shown} gave no answer within {seconds:.0f} s")
    if finished.returncode not in statuses:
        raise UnavailableError(f"{shown} failed: {finished.why(3)}")
    return finished.stdout


def parse_answer(said: str, adapter: pydantic.TypeAdapter[_T]) -> _T:
    """Parse JSON printed by Apptainer or by a program in an image, which may print anything.

    Raises
    ------
    ValueError
        It is not of this type, or larger than `MOST_BYTES_OF_DOCUMENT`.
    """
    answer = said.encode()
    if len(answer) > MOST_BYTES_OF_DOCUMENT:
        raise ValueError(f"{len(answer):,} bytes, expected at most {MOST_BYTES_OF_DOCUMENT:,}")
    return adapter.validate_python(parse_json(answer))


def build(command: Sequence[str], folder: Path, say: Callable[[str], None]) -> None:
    """Run a build and pass its lines on as they come; none of its processes outlives this function.

    Raises
    ------
    IncompleteError
        It failed or did not end in time.
    UsageError
        The recipe does not have one of the build arguments.
    """
    lines: deque[str] = deque(maxlen=_KEPT_LINES)

    def pass_on(line: str) -> None:
        lines.append(line)
        say(line)

    status = follow(command, folder, BUILD_SECONDS, pass_on)
    if status == 0:
        return
    tail = [line for line in lines if line][-_SHOWN_LINES:]
    late = f"did not end within {BUILD_SECONDS / 3600:.0f} h"
    how = late if status is None else f"failed (exit status {status})"
    said = "\n".join(tail)
    hint = next((hint for pattern, hint in _HINTS if re.search(pattern, said, re.IGNORECASE)), "")
    kind = UsageError if _UNKNOWN_ARGUMENT in said else IncompleteError
    raise kind(f"apptainer build {how}; its last lines:\n{said}", hint)
