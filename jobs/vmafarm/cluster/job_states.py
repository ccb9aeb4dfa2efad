"""States of a run's jobs: from SLURM's queue, its accounting, and the elements' own records."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.slurm_answers import Task
from vmafarm.cluster.slurm_programs import NoAnswerError
from vmafarm.common.errors import UnavailableError, show
from vmafarm.process.job_ids import in_order
from vmafarm.run_folder.element_records import ElementRecord
from vmafarm.run_folder.submissions import Submission

RUNNING = frozenset({"RUNNING", "COMPLETING", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"})
"""SLURM states of an element that is at work."""

ACTIVE = RUNNING | {"PENDING", "CONFIGURING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED"}
"""SLURM states of a job that has not ended."""

KILLED = "KILLED"
"""An element that started, did not end, and is no longer in the queue; only accounting knows why."""

NOT_STARTED = "NOT_STARTED"
"""An element that is no longer in the queue and never started."""

PATIENCE_SECONDS = 10.0
"""If squeue fails after more than this, sacct is not asked: it would take as long. Without munge that is
about a minute, see `vmafarm.cluster.slurm_programs.ANSWER_SECONDS`."""

Key = tuple[str, int]
"""Job id (for an element, that of its array) and index; 0 for a job that is not an array."""


@dataclass(frozen=True)
class SlurmView:
    """What SLURM says about a run's jobs.

    Attributes
    ----------
    queue
        Pending and running jobs; None: unknown.
    accounts
        States of jobs by accounting; empty without accounting.
    notes
        What could not be queried.
    """

    queue: tuple[Task, ...] | None
    accounts: dict[Key, str]
    notes: tuple[str, ...]

    def state(self, key: Key) -> str:
        """State of a job; empty if SLURM does not know it."""
        for task in self.queue or ():
            if key_of(task) == key:
                return task.state
        return self.ended(key)

    def ended(self, key: Key) -> str:
        """State of a job that is not in the queue, by accounting; empty if that does not know it.

        Accounting learns of an end late, or never if the node was lost: a job that it calls running but
        that is not in the queue has ended.
        """
        state = self.accounts.get(key, "")
        return "" if self.queue is not None and state in ACTIVE else state


class SlurmReader:
    """Queries SLURM about a run repeatedly; if there is no accounting, it is asked only once.

    Parameters
    ----------
    slurm
        The cluster; None: this machine has none.
    job_name
        Name of all jobs of the run.
    """

    def __init__(self, slurm: Slurm | None, job_name: str) -> None:
        self._slurm = slurm
        self._job_name = job_name
        self._has_accounts = True

    def read(
        self, submissions: Sequence[Submission], asked: Sequence[Submission], users: Collection[int] = ()
    ) -> SlurmView:
        """Find out what is queued and how the rest ended: one call of squeue and one of sacct.

        Parameters
        ----------
        submissions
            All submissions of the run; if there are none, SLURM is not called.
        asked
            Those to look up in accounting.
        users
            Who submitted; none: this user.
        """
        if not submissions:
            return SlurmView((), {}, ())
        if self._slurm is None:
            return SlurmView(
                None, {}, ("this machine has no SLURM (squeue): what waits or runs is unknown here",)
            )
        notes = []
        queue: tuple[Task, ...] | None = None
        began, hangs = time.monotonic(), False
        try:
            queue = tuple(self._slurm.queue(self._job_name, users))
        except UnavailableError as error:
            notes.append(f"the queue is unknown: {brief(error.message)}")
            hangs = isinstance(error, NoAnswerError) or time.monotonic() - began > PATIENCE_SECONDS
        accounts: dict[Key, str] = {}
        try:
            if hangs:
                notes.append("accounting was not asked: it would take as long")
            else:
                accounts = self._accounts(self._slurm, asked)
        except UnavailableError as error:
            notes.append(f"accounting is unavailable: {brief(error.message)}")
        if not self._has_accounts:
            notes.append("no accounting (sacct): how elements ended is known from disk only")
        noted = {job for submission in submissions for job in submission.jobs()}
        strangers = in_order({task.job for task in queue or ()} - noted)
        if strangers:
            notes.append(
                f"jobs that no submission recorded: {', '.join(strangers)}; vmafarm cancel ends them"
            )
        return SlurmView(queue, accounts, tuple(notes))

    def _accounts(self, slurm: Slurm, asked: Sequence[Submission]) -> dict[Key, str]:
        jobs = [job for submission in asked for job in submission.jobs()]
        tasks = slurm.accounting(jobs) if self._has_accounts else None
        self._has_accounts = tasks is not None
        return {key_of(task): task.state for task in tasks or ()}


def key_of(task: Task | ElementRecord) -> Key:
    """Key of a job in SLURM or of an element's record."""
    return task.job, task.index or 0


def latest_records(records: Iterable[ElementRecord]) -> dict[Key, ElementRecord]:
    """The last record of each element: one that was requeued has several."""
    return {key_of(record): record for record in records}


def element_states(
    submission: Submission, view: SlurmView, records: Iterable[ElementRecord]
) -> dict[Key, str]:
    """States of a submission's elements.

    Parameters
    ----------
    submission
        The submission.
    view
        What SLURM says; accounting takes precedence over the records.
    records
        What the elements recorded, ordered by start.

    Returns
    -------
    dict
        A SLURM state, `KILLED` or `NOT_STARTED`. Excluded: elements whose state is unknown, those of later
        rounds that wait for the round before, and those that found nothing to do.
    """
    latest = latest_records(records)
    queue = {key_of(task): task for task in view.queue or ()}
    states = {}
    for array in submission.arrays:
        for index in range(array.count):
            key = array.job, index
            job = array.job, index // array.tasks
            task = queue.get(job)
            record = latest.get(key)
            if task is not None and not (array.tasks > 1 and record and record.ended_at):
                state = "" if array.round and task.reason == "Dependency" else task.state
            elif array.tasks > 1:  # SLURM knows only how all elements of the job together have ended
                state = _by_record(record, array.round, view) or view.ended(job)
            else:
                state = view.ended(job) or _by_record(record, array.round, view)
            if state:
                states[key] = state
    return states


def _by_record(record: ElementRecord | None, number: int, view: SlurmView) -> str:
    if record is not None and record.ended_at:
        return "FAILED" if record.exit_code else "COMPLETED"
    if view.queue is None:
        return ""
    if record is not None:
        return KILLED
    return "" if number else NOT_STARTED  # in a later round there may have been nothing left to do


def summarise_messages(records: Iterable[ElementRecord]) -> list[tuple[int, str]]:
    """Summarise why elements ended before their work was done: count and first message of each kind.

    Messages are of one kind if they are equal up to the first colon, except for numbers and paths.
    """
    counts: dict[str, tuple[int, str]] = {}
    for record in records:
        if record.ended_at and record.exit_code:
            message = one_line(record.message) or "stopped before its work was done"
            words = message.partition(":")[0].split()
            kind = " ".join(word for word in words if not re.search(r"[/\d]", word))
            count, first = counts.get(kind, (0, message))
            counts[kind] = count + 1, first
    return sorted(counts.values(), key=lambda found: -found[0])


def one_line(text: str) -> str:
    """Any text as one printable line."""
    return show(" ".join(text.split()))


def brief(message: str) -> str:
    """The last line of a message, after the name of the program."""
    first, *more = message.splitlines()
    return one_line(f"{first.partition(': ')[0]}: {more[-1]}" if more else first)
