"""State of the merge job behind a submission: from its own record, and from SLURM."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vmafarm.cluster.job_states import ACTIVE, SlurmView
from vmafarm.common.errors import show
from vmafarm.disk.regular_files import read_regular
from vmafarm.run_folder.log_files import log_path
from vmafarm.run_folder.merge_jobs import merge_job_path, notified_path, read_merge_job
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.submissions import Submission


@dataclass(frozen=True)
class MergeJob:
    """The merge that waits behind the last submission.

    Attributes
    ----------
    job
        Its id.
    state
        As SLURM names it; ``ENDED`` if only its record or its log shows that; empty: unknown.
    published
        Whether the table is there.
    reasons
        Why there is no table, or which checks found errors in it; one line each.
    """

    job: str
    state: str
    published: bool
    reasons: tuple[str, ...]


def find_merge_job(folder: RunFolder, submission: Submission, view: SlurmView) -> MergeJob | None:
    """The merge job of a submission; None: it has none."""
    job = submission.merge_job
    if not job:
        return None
    record = read_merge_job(folder, job)
    log = log_path(folder, job, None, "err")
    state = view.state((job, 0))
    began = record is not None or os.path.lexists(log)  # without an error where the logs are private
    if not state and ((record and record.ended_at) or (view.queue is not None and began)):
        state = "ENDED"
    if state in ACTIVE or not state:
        return MergeJob(job, state, False, ())
    if record and record.outcome in ("published", "unsound"):
        return MergeJob(job, state, True, record.reasons)
    # The table may have been published by hand since then.
    if _is_newer(folder.table, merge_job_path(folder, job) if record else log):
        return MergeJob(job, state, True, ())
    if record and record.ended_at:
        return MergeJob(job, state, False, record.reasons)
    return MergeJob(
        job, state, False, (f"it left no record of its end; its log: {show(str(log))}, and .out",)
    )


def failed_notification(folder: RunFolder, job: str) -> str:
    """Say how ``slurm.notify`` failed behind a merge job; empty if it did not."""
    try:
        status = read_regular(notified_path(folder, job), 64).decode().strip()
    except (OSError, ValueError):
        return ""
    log = show(str(log_path(folder, job, None, "err")))
    return f"slurm.notify failed: exit status {show(status)}; see the end of {log}"


def _is_newer(path: Path, than: Path) -> bool:
    try:
        return path.stat().st_mtime >= than.stat().st_mtime
    except OSError:
        return False
