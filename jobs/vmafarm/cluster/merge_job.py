"""What has become of the merge that waits behind a submission."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import dropwhile

from vmafarm.cluster.job_states import ACTIVE, SlurmView
from vmafarm.run_folder.log_files import log_path, printed
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.submissions import Submission

_CHECKS = "checks found errors"
"""How `vmafarm.publish.require_sound` begins."""


@dataclass(frozen=True)
class MergeJob:
    """The merge that waits behind the last submission.

    Attributes
    ----------
    job
        Its id.
    state
        As SLURM names it; ``ENDED`` where only its log tells; "": not known.
    published
        Whether the table is there.
    said
        What its log says: where it ended without the table of that, else of what the checks found.
    """

    job: str
    state: str
    published: bool
    said: tuple[str, ...]


def look_at_merge(folder: RunFolder, submission: Submission, view: SlurmView) -> MergeJob | None:
    """The merge of a submission; None: it has none."""
    job = submission.merge_job
    if not job:
        return None
    state = view.state((job, 0))
    log = log_path(folder, job, None, "out")
    if not state and view.queue is not None and log.exists():
        state = "ENDED"
    if state in ACTIVE or not state:
        return MergeJob(job, state, False, ())
    said = printed(log)
    if any(line.startswith("table  ") for line in said):
        return MergeJob(job, state, True, tuple(dropwhile(lambda line: not line.startswith(_CHECKS), said)))
    # The table may also have been published by hand since then.
    published = folder.table.exists() and log.exists() and folder.table.stat().st_mtime >= log.stat().st_mtime
    return MergeJob(job, state, published, () if published else _reasons(folder, job, said))


def _reasons(folder: RunFolder, job: str, said: Sequence[str]) -> tuple[str, ...]:
    """Why there is no table: the numbered reasons of the merge, else the last lines that there are."""
    reasons = [line for line in said if re.match(r"\d+\. \[", line)]
    return tuple(reasons or said[-2:] or printed(log_path(folder, job, None, "err"))[-2:])
