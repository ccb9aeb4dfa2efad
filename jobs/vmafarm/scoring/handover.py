"""How work reaches the process that does it: a JSON file, and its SHA-256 in the command that starts it.

SLURM or this machine holds the command, so changing the file later cannot change the work. A pickle, as
submitit would write it, runs whatever its writer wanted.
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
"""Module that the process runs."""

_SPEC = pydantic.TypeAdapter(ElementSpec)
_RESULT = pydantic.TypeAdapter(ElementResult)


@dataclass(frozen=True)
class Work:
    """Work of a job.

    Attributes
    ----------
    path
        File that contains it; named by its content, so equal work has the same file.
    text
        Content of that file: JSON.
    arguments
        Arguments of Python that start it, quoted for a shell; an element's index comes from SLURM or follows.
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
            Work of each.
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
        """Write the file."""
        replace_text(self.path, self.text)


def read_work(path: Path, digest: str) -> dict[str, Any]:
    """Read the work file.

    Raises
    ------
    UnavailableError
        It cannot be read, or differs from what was submitted.
    """
    try:
        content = read_regular(path)
    except OSError as error:
        raise UnavailableError(
            f"cannot read the work file: {show(str(path))}: {error.strerror}",
            "is the run folder visible on this node? submit again: vmafarm retry",
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise UnavailableError(
            f"{show(str(path))} is not what was submitted: SHA-256 {found}, expected {digest}",
            "find out who wrote it; none of it was run. Submit again: vmafarm retry",
        )
    work: dict[str, Any] = json.loads(content)
    return work


def as_spec(work: dict[str, Any], index: int) -> ElementSpec:
    """Work of one element, from what `Work.of_elements` wrote."""
    return _SPEC.validate_python(work["elements"][index])


def write_result(path: Path, result: ElementResult) -> None:
    """Write the result of a local element for the process that waits for it."""
    replace_text(path, json.dumps(asdict(result)))


def read_result(path: Path) -> ElementResult | None:
    """Result that `write_result` wrote; None: the element ended without one."""
    try:
        return _RESULT.validate_json(read_regular(path))
    except (OSError, ValueError):
        return None


def require_own_log(logs: Path) -> None:
    """Refuse to print into a file outside the folder of logs.

    SLURM opens logs by name when a job starts. If others can replace the folder of logs at that moment, such
    a name could be a link to any file of this user.

    Raises
    ------
    UnavailableError
        Standard output or standard error is a file elsewhere.
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
