"""How work reaches the process that does it: a JSON file, and its SHA-256 in the command that starts it.

The command is held by SLURM, or is this machine's own, so nobody who writes the file later can have
something else done. A pickle, as submitit would write one, runs whatever its writer wanted.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pydantic

from vmafarm.common.errors import UnavailableError, show
from vmafarm.disk.durable import replace_text
from vmafarm.disk.regular_files import read_regular
from vmafarm.run_folder.element_records import ElementResult
from vmafarm.scoring.element_spec import ElementSpec

MODULE = "vmafarm.start"
"""What the process runs."""

_SPEC = pydantic.TypeAdapter(ElementSpec)
_RESULT = pydantic.TypeAdapter(ElementResult)


@dataclass(frozen=True)
class Work:
    """What a job is to do.

    Attributes
    ----------
    path
        File that holds it; its name comes from the content, so equal work has the same file.
    text
        Content of that file: JSON.
    arguments
        Of Python, quoted for a shell, which start it; an element's index comes from SLURM, or follows them.
    """

    path: Path
    text: str
    arguments: str

    @classmethod
    def of_elements(cls, logs: Path, specs: Sequence[ElementSpec]) -> Work:
        """Work of an array's elements, one spec each, in the order of their indices.

        Parameters
        ----------
        logs
            The run's folder of logs, private to this user.
        specs
            What each is to do.
        """
        return cls._of(logs, "elements", {"elements": [asdict(spec) for spec in specs]})

    @classmethod
    def of_merge(cls, logs: Path, document: dict[str, Any]) -> Work:
        """Work of the merge; `document` is the configuration as `Config.model_dump` gives it."""
        return cls._of(logs, "merge", {"merge": document})

    @classmethod
    def _of(cls, logs: Path, kind: str, work: dict[str, Any]) -> Work:
        text = json.dumps(work)
        digest = hashlib.sha256(text.encode()).hexdigest()
        path = logs / f"{kind}-{digest[:12]}.json"
        return cls(path, text, shlex.join(["-u", "-m", MODULE, str(path), digest]))

    def write(self) -> None:
        """Put the file in place."""
        replace_text(self.path, self.text)


def read_work(path: Path, digest: str) -> dict[str, Any]:
    """Read what was written down.

    Raises
    ------
    UnavailableError
        It cannot be read, or is not what was submitted.
    """
    try:
        content = read_regular(path)
    except OSError as error:
        raise UnavailableError(
            f"cannot read what is to be done: {show(str(path))}: {error.strerror}",
            "is the run folder visible on this node? submit again: vmafarm retry",
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise UnavailableError(
            f"{show(str(path))} is not what was submitted: SHA-256 {found}, expected {digest}",
            "find out who has written it; nothing of it was done. Submit again: vmafarm retry",
        )
    work: dict[str, Any] = json.loads(content)
    return work


def as_spec(work: dict[str, Any], index: int) -> ElementSpec:
    """What one element is to do, of what `Work.of_elements` wrote."""
    return _SPEC.validate_python(work["elements"][index])


def write_result(path: Path, result: ElementResult) -> None:
    """Leave the result of an element of this machine for the process that waits for it."""
    replace_text(path, json.dumps(asdict(result)))


def read_result(path: Path) -> ElementResult | None:
    """What `write_result` wrote; None: the element ended without a result."""
    try:
        return _RESULT.validate_json(read_regular(path))
    except (OSError, ValueError):
        return None


def require_own_log(logs: Path) -> None:
    """Refuse to print into a file that does not lie in the folder of logs.

    SLURM opens logs by their names when a job starts. Where others could put another folder in the place of
    logs just then, such a name could be a link to any file of this user.

    Raises
    ------
    UnavailableError
        The output or the error output is a file elsewhere.
    """
    for descriptor in (1, 2):
        try:
            opened = os.fstat(descriptor)
            name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        except OSError:
            continue  # closed, or no /proc
        with suppress(OSError):
            if not stat.S_ISREG(opened.st_mode) or os.path.samestat(opened, (logs / name).lstat()):
                continue
        raise UnavailableError(
            f"the log of this job does not lie in {show(str(logs))}: not starting",
            "find out who may write the folders above; submit again: vmafarm retry",
        )
