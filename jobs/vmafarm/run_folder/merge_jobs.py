"""Records of how merge jobs ended: SLURM forgets jobs, and logs are not machine-readable."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pydantic

from vmafarm.common.errors import VmafarmError
from vmafarm.disk.durable import make_folder, replace_text
from vmafarm.disk.jsonl import Moment, Text, Word, parse_json
from vmafarm.disk.regular_files import MOST_BYTES_OF_DOCUMENT, read_regular
from vmafarm.process.node import node_name, task_of
from vmafarm.run_folder.paths import RunFolder

MergeOutcome = Literal["", "published", "unsound", "refused", "stopped", "failed"]


@dataclass(frozen=True)
class MergeJobRecord:
    """One merge job; if it was requeued, its latest start.

    Attributes
    ----------
    job
        SLURM's id; ``local`` outside of SLURM.
    node
        Where it ran.
    started_at
        When it began (ISO 8601, UTC).
    ended_at
        When it ended; empty if it is still running or was killed.
    outcome
        ``published``; ``unsound``: published, but checks found errors; ``refused``: nothing was published;
        ``stopped``: by a signal; ``failed``: an error; empty until it has ended.
    reasons
        For any outcome other than ``published``, one line each.
    run, table
        Name of the run, and path of its table, for ``slurm.notify``.
    """

    job: Word
    node: Word
    started_at: Moment
    ended_at: Moment | Literal[""] = ""
    outcome: MergeOutcome = ""
    reasons: tuple[Text, ...] = ()
    run: Word | Literal[""] = ""
    table: Text = ""


_RECORD = pydantic.TypeAdapter(MergeJobRecord)


class MergeJobLog:
    """Write the record of this job; errors are ignored, as the merge is more important.

    Parameters
    ----------
    folder
        The run.
    cluster
        ``slurm.cluster``, which is part of the job's id.
    """

    def __init__(self, folder: RunFolder, cluster: str = "") -> None:
        job, _ = task_of(os.environ, "local", cluster=cluster)
        self._folder = folder
        self._record = MergeJobRecord(
            job, node_name(os.environ), _now(), run=folder.name, table=str(folder.table)
        )
        self._write()

    def end(self, outcome: MergeOutcome, reasons: Sequence[str] = ()) -> None:
        """Record how the job ended."""
        self._record = replace(self._record, ended_at=_now(), outcome=outcome, reasons=tuple(reasons))
        self._write()

    def _write(self) -> None:
        with suppress(OSError, VmafarmError):
            make_folder(self._folder.merge_jobs)
            replace_text(
                merge_job_path(self._folder, self._record.job), json.dumps(asdict(self._record)) + "\n"
            )


def merge_job_path(folder: RunFolder, job: str) -> Path:
    """Return the path of the record of a merge job."""
    return folder.merge_jobs / f"{job}.json"


def notified_path(folder: RunFolder, job: str) -> Path:
    """Where a merge job leaves the exit status of ``slurm.notify``, if that failed."""
    return folder.merge_jobs / f"{job}.notify"


def read_merge_job(folder: RunFolder, job: str) -> MergeJobRecord | None:
    """Read the record of a merge job; None if there is none, or it cannot be read."""
    try:
        data = read_regular(merge_job_path(folder, job), MOST_BYTES_OF_DOCUMENT)
        return _RECORD.validate_python(parse_json(data))
    except (OSError, ValueError):
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
