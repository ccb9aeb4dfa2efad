"""How far a run is: from disk first, then from SLURM's queue, then from its accounts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import dropwhile
from typing import Any

import numpy as np

from jobs.config import Config
from jobs.element_log import ElementRecord, read_elements
from jobs.errors import show
from jobs.failures import FailureRecord, read_failures, set_aside
from jobs.limits import Limits
from jobs.manifest import load_manifest
from jobs.nodes import BrokenNode, read_broken
from jobs.recent import RecentRate
from jobs.remarks import Remark, RemarkReader
from jobs.run_folder import RunFolder
from jobs.shard import DoneReader
from jobs.slices import format_indices
from jobs.slurm import Slurm
from jobs.submission import Submission, read_submissions, run_job_name
from jobs.task_log import log_path, printed
from jobs.tasks import (
    ACTIVE,
    RUNNING,
    Observer,
    SlurmView,
    element_states,
    latest_records,
    summarise_messages,
)

_CHECKS = "checks found errors"
"""How `jobs.deliver.require_sound` begins."""

SLICE_STATES = ("done", "running", "pending", "failed", "new", "unknown")


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


@dataclass(frozen=True)
class Status:
    """One look at a run; one set of counts stands behind the table and the JSON.

    Attributes
    ----------
    run
        Its name.
    at
        When (ISO 8601, UTC).
    clips, done, failed_for_good, missing
        Clips of the manifest; those with a row; those set aside; the rest.
    slices
        Slices by state: ``done``; ``running`` (an element that has them works); ``pending`` (one
        waits, of a later round too); ``failed`` (were submitted, and nobody works or waits for them any
        more); ``new`` (were never submitted); ``unknown`` (were submitted, and the queue is not known).
    states
        A letter a slice, in their order, the first one of its state.
    missing_slices
        Slices that a retry would submit, as ``3,7-9``; "" where nothing was submitted and where the
        queue is not known.
    working
        Whether anything of the run waits or runs; None: not known.
    clips_per_second, seconds_left
        Over the last minutes that somebody watched, else since the first element of the last submission
        began; None unless something runs.
    seconds_left_between
        What is left, from the counts of those minutes (95%); None where too few clips were watched.
    failures
        Tries that failed, by class: count and first message.
    elements
        Elements of the last submission by state, as SLURM names them; see `tasks.element_states`.
    messages
        Why elements of the last submission ended before their work was done: count and first
        message of each kind.
    broken_nodes
        Nodes that are kept out.
    merge
        The merge of the last submission; None: it has none.
    notes
        What could not be asked.
    remarks
        Clips with a row that are worth a look, by kind: see `jobs.remarks.RemarkReader.read`.
    """

    run: str
    at: str
    clips: int
    done: int
    failed_for_good: int
    missing: int
    slices: Mapping[str, int]
    states: str
    missing_slices: str
    working: bool | None
    clips_per_second: float | None
    seconds_left: float | None
    seconds_left_between: tuple[float, float] | None
    failures: Mapping[str, tuple[int, str]]
    elements: Mapping[str, int]
    messages: tuple[tuple[int, str], ...]
    broken_nodes: tuple[BrokenNode, ...]
    merge: MergeJob | None
    notes: tuple[str, ...]
    remarks: Mapping[str, Remark] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return asdict(self)


def look(config: Config, slurm: Slurm | None) -> Status:
    """See once how far a run is; see `Watcher`."""
    return Watcher(config, slurm).look()


class Watcher:
    """Sees how far a run is, again and again; what cannot have changed is not read twice.

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

    def __init__(self, config: Config, slurm: Slurm | None) -> None:
        self._folder = config.folder
        self._tries = config.extract.retries + 1
        self._limits = Limits.of(config.extract).as_dict()
        self._manifest = load_manifest(self._folder)
        self._done = DoneReader()
        self._remarks = RemarkReader(self._folder)
        self._recent = RecentRate()
        self._observer = Observer(slurm, run_job_name(self._folder, self._manifest.digest))

    def look(self) -> Status:
        """See how far it is now."""
        folder, manifest = self._folder, self._manifest
        done = self._done.read(folder, range(manifest.slice_count))
        failures = read_failures(folder.failures)
        aside = set_aside(failures, self._tries, {record.host for record in failures}, self._limits)
        with_row = np.fromiter((name in done for name in manifest.names), bool, len(manifest.names))
        failed = (
            np.fromiter((name in aside for name in manifest.names), bool, len(manifest.names)) & ~with_row
        )
        left = sorted(set(manifest.slices[~(with_row | failed)].tolist()))
        missing = int((~(with_row | failed)).sum())

        submissions = read_submissions(folder)
        view = self._observer.look(submissions, submissions[-1:])
        slices = _slice_states(left, submissions, view)
        retried = [number for number in left if slices[number] in ("failed", "new")]
        counts = Counter(slices.values())
        records = read_elements(folder)
        last = submissions[-1] if submissions else None
        of_last = _records_of(last, records)
        now = datetime.now(UTC)
        rate, between = None, None
        if last is not None and _anything_runs(submissions, view):
            finished = len(manifest.names) - missing
            rate = _rate(last, of_last, finished, now)
            rates = self._recent.see(now.timestamp(), finished)
            if rates is not None:
                low, rate, high = rates
                between = (missing / high, missing / low)
        states = element_states(last, view, of_last) if last else {}
        return Status(
            run=folder.name,
            at=now.isoformat(timespec="seconds"),
            clips=len(manifest.names),
            done=int(with_row.sum()),
            failed_for_good=int(failed.sum()),
            missing=missing,
            slices={"done": manifest.slice_count - len(left)} | {s: counts[s] for s in SLICE_STATES[1:]},
            states="".join(slices.get(number, "done")[0] for number in range(manifest.slice_count)),
            missing_slices=format_indices(retried) if submissions and view.queue is not None else "",
            working=None if view.queue is None else bool(view.queue),
            clips_per_second=rate,
            seconds_left=missing / rate if rate else None,
            seconds_left_between=between,
            failures=_by_class(failures),
            elements=dict(sorted(Counter(states.values()).items())),
            messages=tuple(summarise_messages(latest_records(of_last).values())),
            broken_nodes=tuple(read_broken(folder)),
            merge=_merge_job(folder, last, view) if last else None,
            notes=view.notes,
            remarks=self._remarks.read(),
        )


def _slice_states(left: Sequence[int], submissions: Sequence[Submission], view: SlurmView) -> dict[int, str]:
    """State of each slice that has something missing."""
    running: set[int] = set()
    waiting: set[int] = set()
    for task in view.queue or ():
        for submission in submissions:
            # A canary takes a few clips of all slices; behind it the arrays are still to come.
            works = task.state in RUNNING and not submission.canary
            (running if works else waiting).update(submission.slices_of(task.job, task.index))
    submitted = {number for s in submissions if not s.canary for number in s.slices}
    gone = "unknown" if view.queue is None else "failed"

    def state(number: int) -> str:
        if number in running:
            return "running"
        if number in waiting:
            return "pending"
        return gone if number in submitted else "new"

    return {number: state(number) for number in left}


def _anything_runs(submissions: Sequence[Submission], view: SlurmView) -> bool:
    merges = {submission.merge_job for submission in submissions}
    return any(task.state in RUNNING and task.job not in merges for task in view.queue or ())


def _records_of(submission: Submission | None, records: Sequence[ElementRecord]) -> list[ElementRecord]:
    jobs = {array.job for array in submission.arrays} if submission else set()
    return [record for record in records if record.job in jobs]


def _rate(
    submission: Submission, records: Sequence[ElementRecord], finished: int, now: datetime
) -> float | None:
    """Clips a second that were finished since the submission's first element began."""
    if submission.canary or not records:  # what was done before a canary is not on record
        return None
    seconds = (now - datetime.fromisoformat(records[0].started_at)).total_seconds()
    since = finished - submission.done
    return since / seconds if since > 0 and seconds > 0 else None


def _merge_job(folder: RunFolder, submission: Submission, view: SlurmView) -> MergeJob | None:
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


def _by_class(records: Sequence[FailureRecord]) -> dict[str, tuple[int, str]]:
    found: dict[str, tuple[int, str]] = {}
    for record in records:
        count, first = found.get(record.failure, (0, show(f"{record.clip_name}: {record.message}")))
        found[record.failure] = count + 1, first
    return found
