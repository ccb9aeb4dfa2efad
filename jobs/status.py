"""How far a run is: from disk first, then from SLURM's queue, then from its accounts."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jobs.config import Config
from jobs.errors import UnavailableError, show
from jobs.failures import FailureRecord, read_failures, set_aside
from jobs.manifest import load_manifest
from jobs.shard import read_done
from jobs.slices import format_indices
from jobs.slurm import Slurm, Task
from jobs.submission import Submission, read_submissions, run_job_name


@dataclass(frozen=True)
class Status:
    """One look at a run; one set of counts stands behind the table and the JSON.

    Attributes
    ----------
    run
        Its name.
    clips, done, failed_for_good, missing
        Clips of the manifest; those with a row; those set aside; the rest.
    slices
        Slices by ``done``, ``running``, ``pending`` and ``missing`` (nobody works on them).
    missing_slices
        Slices that a retry would submit, as ``3,7-9``; "" too where the queue is not known.
    failures
        Tries that failed, by class: count and first message.
    elements
        Elements of the last submission by state, as SLURM names them.
    merge
        State of the merge job, or "".
    notes
        What could not be asked.
    """

    run: str
    clips: int
    done: int
    failed_for_good: int
    missing: int
    slices: Mapping[str, int]
    missing_slices: str
    failures: Mapping[str, tuple[int, str]]
    elements: Mapping[str, int]
    merge: str
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The same for a terminal of 80 columns."""
        share = self.done / self.clips if self.clips else 1.0
        slices = ", ".join(f"{count:,} {state}" for state, count in self.slices.items() if count)
        lines = [
            f"run {self.run}",
            f"clips      {self.done:,} of {self.clips:,} done ({share:.1%}), {self.missing:,} missing, "
            f"{self.failed_for_good:,} set aside",
            f"slices     {slices}",
        ]
        if self.elements:
            listed = ", ".join(f"{count:,} {state}" for state, count in sorted(self.elements.items()))
            lines.append(f"elements   {listed}")
        if self.merge:
            lines.append(f"merge      {self.merge}")
        for failure, (count, message) in self.failures.items():
            lines.append(f"failed     {failure} {count:,}: {message}"[:80])
        if self.missing_slices:
            lines.append(f"nobody works on slices {_shorten(self.missing_slices)}: vmafarm retry")
        lines += [f"note       {note}" for note in self.notes]
        return [part for line in lines for part in _wrap(line)]


def look(config: Config, slurm: Slurm | None) -> Status:
    """See how far a run is.

    Parameters
    ----------
    config
        The configuration of a planned run.
    slurm
        The cluster; None: this machine has none.

    Raises
    ------
    UsageError
        The run is not planned.
    """
    folder = config.folder
    manifest = load_manifest(folder)
    records = read_failures(folder.failures)
    aside = set_aside(records, config.extract.retries + 1, {r.host for r in records})
    done = read_done(folder, range(manifest.slice_count))
    finished = np.fromiter((n in done or n in aside for n in manifest.names), bool, len(manifest.names))
    rows = sum(name in done for name in manifest.names)
    left = sorted({int(number) for number in manifest.slices[~finished]})
    submissions = read_submissions(folder)
    tasks, notes, known = _ask(slurm, run_job_name(folder, manifest.digest), submissions)
    running = _slices_in(tasks, submissions, {"RUNNING", "COMPLETING"})
    waiting = _slices_in(tasks, submissions, {"PENDING", "REQUEUED", "SUSPENDED", "CONFIGURING"}) - running
    nobody = [number for number in left if number not in running | waiting]
    return Status(
        run=folder.name,
        clips=len(manifest.names),
        done=rows,
        failed_for_good=sum(name in aside and name not in done for name in manifest.names),
        missing=int((~finished).sum()),
        slices={
            "done": manifest.slice_count - len(left),
            "running": len([number for number in left if number in running]),
            "pending": len([number for number in left if number in waiting]),
            "missing": len(nobody),
        },
        missing_slices=format_indices(nobody) if submissions and known else "",
        failures=_by_class(records),
        elements=_states(tasks, submissions),
        merge=_merge_state(tasks, submissions),
        notes=tuple(notes),
    )


def _ask(
    slurm: Slurm | None, name: str, submissions: Sequence[Submission]
) -> tuple[list[Task], list[str], bool]:
    """One call of squeue and one of sacct; what cannot be asked becomes a note.

    Returns
    -------
    tasks, notes
    known
        Whether the queue is known.
    """
    if not submissions:
        return [], [], True
    if slurm is None:
        return [], ["this machine has no SLURM (squeue): what waits or runs is not known here"], False
    notes = []
    queued: list[Task] = []
    known = True
    try:
        queued = slurm.queue(name)
    except UnavailableError as error:
        notes.append(f"the queue is not known: {error.message}")
        known = False
    noted = {job for submission in submissions for job in submission.jobs()}
    strangers = sorted({task.job for task in queued} - noted, key=int)
    if strangers:
        notes.append(f"jobs that no submission has noted: {', '.join(strangers)}; vmafarm cancel ends them")
    accounts = slurm.accounting(submissions[-1].jobs())
    if accounts is None:
        notes.append("no accounting (sacct): what ended, and how, is known from disk alone")
    waiting = {(task.job, task.index) for task in queued}
    tasks = queued + [task for task in accounts or [] if (task.job, task.index) not in waiting]
    return tasks, notes, known


def _slices_in(tasks: Sequence[Task], submissions: Sequence[Submission], states: set[str]) -> set[int]:
    found: set[int] = set()
    for task in tasks:
        if task.state in states:
            for submission in submissions:
                found.update(submission.slices_of(task.job, task.index))
    return found


def _states(tasks: Sequence[Task], submissions: Sequence[Submission]) -> dict[str, int]:
    """States of the elements of the last submission, later rounds that wait for it left out."""
    if not submissions:
        return {}
    arrays = {array.job: array.round for array in submissions[-1].arrays}
    return dict(
        Counter(
            task.state
            for task in tasks
            if task.job in arrays and not (arrays[task.job] and task.state == "PENDING")
        )
    )


def _merge_state(tasks: Sequence[Task], submissions: Sequence[Submission]) -> str:
    job = submissions[-1].merge_job if submissions else ""
    return next((task.state for task in tasks if job and task.job == job), "")


def _by_class(records: Sequence[FailureRecord]) -> dict[str, tuple[int, str]]:
    found: dict[str, tuple[int, str]] = {}
    for record in records:
        count, first = found.get(record.failure, (0, show(f"{record.clip_name}: {record.message}")))
        found[record.failure] = count + 1, first
    return found


def _shorten(indices: str) -> str:
    """Numbers for one line; all of them are in the JSON."""
    if len(indices) <= 36:
        return indices
    return indices[:36].rpartition(",")[0] + ",..."


def _wrap(line: str) -> list[str]:
    return textwrap.wrap(line, 80, subsequent_indent=" " * 11, break_on_hyphens=False)
