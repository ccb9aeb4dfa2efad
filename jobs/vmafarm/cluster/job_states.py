"""What becomes of a run's jobs: from SLURM's queue, from its accounts, and from the elements' own records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.slurm_answers import Task
from vmafarm.common.errors import UnavailableError, show
from vmafarm.run_folder.element_records import ElementRecord
from vmafarm.run_folder.submissions import Submission

RUNNING = frozenset({"RUNNING", "COMPLETING", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"})
"""States of SLURM in which an element is at work."""

ACTIVE = RUNNING | {"PENDING", "CONFIGURING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED"}
"""States of SLURM from which a job goes on."""

KILLED = "KILLED"
"""An element that began, has not ended, and is in the queue no more; why, only accounts could tell."""

NOT_STARTED = "NOT_STARTED"
"""An element that is in the queue no more and has never begun."""

Key = tuple[str, int]
"""Job (of an array the array's own) and index; 0 for a job that is no array."""


@dataclass(frozen=True)
class SlurmView:
    """What SLURM says of a run's jobs.

    Attributes
    ----------
    queue
        What waits or runs; None: not known.
    accounts
        State of jobs by the accounts, where there are any.
    notes
        What could not be asked.
    """

    queue: tuple[Task, ...] | None
    accounts: dict[Key, str]
    notes: tuple[str, ...]

    def state(self, key: Key) -> str:
        """State of a job, or "" where SLURM says nothing of it."""
        for task in self.queue or ():
            if key_of(task) == key:
                return task.state
        return self.ended(key)

    def ended(self, key: Key) -> str:
        """State of a job that is not in the queue, by the accounts; "" where these say nothing.

        Accounts hear of an end late or, when a node is lost, never: what they call running and the
        queue does not have has ended.
        """
        state = self.accounts.get(key, "")
        return "" if self.queue is not None and state in ACTIVE else state


class SlurmReader:
    """Asks SLURM about a run, again and again; of accounts that there are none it hears once.

    Parameters
    ----------
    slurm
        The cluster; None: this machine has none.
    job_name
        Of all jobs of the run.
    """

    def __init__(self, slurm: Slurm | None, job_name: str) -> None:
        self._slurm = slurm
        self._job_name = job_name
        self._has_accounts = True

    def read(self, submissions: Sequence[Submission], asked: Sequence[Submission]) -> SlurmView:
        """See what waits or runs, and what became of the rest: one call of squeue and one of sacct.

        Parameters
        ----------
        submissions
            All of the run. Without any SLURM is not asked.
        asked
            Those whose jobs the accounts are asked about.
        """
        if not submissions:
            return SlurmView((), {}, ())
        if self._slurm is None:
            return SlurmView(
                None, {}, ("this machine has no SLURM (squeue): what waits or runs is not known here",)
            )
        notes = []
        queue: tuple[Task, ...] | None = None
        try:
            queue = tuple(self._slurm.queue(self._job_name))
        except UnavailableError as error:
            notes.append(f"the queue is not known: {_brief(error.message)}")
        accounts: dict[Key, str] = {}
        try:
            accounts = self._accounts(self._slurm, asked)
        except UnavailableError as error:
            notes.append(f"the accounts are not known: {_brief(error.message)}")
        if not self._has_accounts:
            notes.append("no accounting (sacct): what ended, and how, is known from disk alone")
        noted = {job for submission in submissions for job in submission.jobs()}
        strangers = sorted({task.job for task in queue or ()} - noted, key=lambda job: (len(job), job))
        if strangers:
            notes.append(
                f"jobs that no submission has noted: {', '.join(strangers)}; vmafarm cancel ends them"
            )
        return SlurmView(queue, accounts, tuple(notes))

    def _accounts(self, slurm: Slurm, asked: Sequence[Submission]) -> dict[Key, str]:
        jobs = [job for submission in asked for job in submission.jobs()]
        tasks = slurm.accounting(jobs) if self._has_accounts else None
        self._has_accounts = tasks is not None
        return {key_of(task): task.state for task in tasks or ()}


def key_of(task: Task | ElementRecord) -> Key:
    """The same for a job in SLURM and for its element's record."""
    return task.job, task.index or 0


def latest_records(records: Iterable[ElementRecord]) -> dict[Key, ElementRecord]:
    """Of each element its last record: a requeued one has several."""
    return {key_of(record): record for record in records}


def element_states(
    submission: Submission, view: SlurmView, records: Iterable[ElementRecord]
) -> dict[Key, str]:
    """States of a submission's elements.

    Parameters
    ----------
    submission
        Which one.
    view
        What SLURM says; its accounts go before the records.
    records
        What the elements say, in the order of their beginning.

    Returns
    -------
    dict
        In SLURM's words, or `KILLED` or `NOT_STARTED`. Left out: those of which nothing is known,
        those of later rounds that wait for the round before, and those that found nothing to do.
    """
    latest = latest_records(records)
    queue = {key_of(task): task for task in view.queue or ()}
    states = {}
    for array in submission.arrays:
        for index in range(array.count):
            key = array.job, index
            task = queue.get(key)
            if task is not None:
                state = "" if array.round and task.reason == "Dependency" else task.state
            else:
                state = view.ended(key) or _by_record(latest.get(key), array.round, view)
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
    """Say why elements ended before their work was done: how many, and the first message of each kind.

    Messages are of one kind if they are the same but for numbers and paths, up to the first colon.
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


def _brief(message: str) -> str:
    """Of what a program says in many lines the last one, behind the program's name."""
    first, *more = message.splitlines()
    return one_line(f"{first.partition(': ')[0]}: {more[-1]}" if more else first)
