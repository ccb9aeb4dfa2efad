"""Progress of a run: from disk first, then from SLURM's queue, then from its accounting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from vmafarm.cluster.job_states import (
    RUNNING,
    SlurmReader,
    SlurmView,
    element_states,
    latest_records,
    summarise_messages,
)
from vmafarm.cluster.left_out import tell_left_out
from vmafarm.cluster.local_work import read_local_work
from vmafarm.cluster.merge_job import MergeJob, failed_notification, find_merge_job
from vmafarm.cluster.other_images import tell_other_images
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.waiting import Waiting, why_jobs_wait
from vmafarm.cluster.watched_rate import RecentRate, since_start
from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.corpus.slices import format_indices
from vmafarm.published.up_to_date import read_errors, rows_since
from vmafarm.run_folder.at_work import Worker
from vmafarm.run_folder.broken_nodes import BrokenNode, read_broken
from vmafarm.run_folder.element_records import ElementRecord, identity_advice, load_elements
from vmafarm.run_folder.failures import FailureRecord
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.submissions import Submission, read_submissions, run_job_name, submitters
from vmafarm.shards.completeness import read_states
from vmafarm.shards.remarks import Remark, RemarkReader
from vmafarm.shards.writer import DoneReader

SLICE_STATES = ("done", "running", "pending", "failed", "new", "unknown")


@dataclass(frozen=True)
class Status:
    """Progress of a run at one moment; the table and the JSON show the same counts.

    Attributes
    ----------
    run
        Name of the run.
    at
        Time (ISO 8601, UTC).
    clips, done, failed_for_good, missing
        Clips of the manifest; clips with a row; clips that have failed for good; the rest.
    tried
        Missing clips that were tried; `vmafarm failures` lists them and those that have failed for good.
    waiting
        Missing clips that failed on one host only, and should be retried on another one.
    published
        Whether the table is there; of the last submission, if there was one.
    errors
        Names of the checks that found errors in the table, by merge.json.
    slices
        Number of slices by state: ``done``; ``running`` (an element works on it); ``pending`` (an element is
        pending, also of a later round); ``failed`` (submitted, but no element is queued any more); ``new``
        (never submitted); ``unknown`` (submitted, but the queue is unknown).
    states
        One letter per slice, in their order: the first letter of its state.
    missing_slices
        Slices that a retry would submit, as ``3,7-9``; empty if nothing was submitted or the queue is
        unknown.
    working
        Whether any job of the run is queued, or a process works on it; None: unknown.
    clips_per_second, seconds_left
        Over the last minutes of --watch, else since the first of these elements started; None if nothing
        runs.
    seconds_left_between
        95% interval of `seconds_left`, from the counts of those minutes; None: too few clips.
    failures
        Failed tries by class: count and first message.
    elements
        Elements of the last submission by state (see `vmafarm.cluster.job_states.element_states`); of a run
        that was never submitted, those of the latest ``vmafarm run``.
    messages
        Why some of these elements ended before their work was done: count and first message of each kind.
    broken_nodes
        Nodes that are excluded.
    merge
        The merge job of the last submission; None: it has none.
    notes
        What could not be queried or read.
    remarks
        Clips with a row that are worth a look, by kind; see `vmafarm.shards.remarks.RemarkReader.read`.
    pending
        Why jobs wait, and which of them never start by themselves.
    at_work
        The process that works on the run without SLURM; None: none does.
    """

    run: str
    at: str
    clips: int
    done: int
    failed_for_good: int
    missing: int
    tried: int
    waiting: int
    published: bool
    errors: tuple[str, ...]
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
    pending: tuple[Waiting, ...] = ()
    at_work: Worker | None = None

    @property
    def is_good(self) -> bool:
        """Whether the table is there and its checks found no errors."""
        return self.published and not self.errors and not (self.merge and self.merge.reasons)


def read_status(config: Config, slurm: Slurm | None) -> Status:
    """Read the progress of a run once; see `StatusReader`."""
    return StatusReader(config, slurm).read()


class StatusReader:
    """Reads the progress of a run repeatedly; what cannot have changed is not read twice.

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
        self._config = config
        self._manifest = load_manifest(self._folder)
        self._done = DoneReader()
        self._remarks = RemarkReader(self._folder)
        self._recent = RecentRate()
        self._slurm = SlurmReader(slurm, run_job_name(self._folder, self._manifest.origin))

    def read(self) -> Status:
        """Read the current progress."""
        folder, manifest = self._folder, self._manifest
        clips = read_states(folder, self._config, manifest, reader=self._done)
        gaps = clips.gaps
        to_do = set(gaps.missing)
        is_missing = np.fromiter((name in to_do for name in manifest.names), bool, len(manifest.names))
        left = sorted(set(manifest.slices[is_missing].tolist()))
        missing = len(gaps.missing)

        submissions, view = self._jobs()
        slices = _slice_states(left, submissions, view)
        records, damaged = load_elements(folder)
        last = submissions[-1] if submissions else None
        of_last = _records_of(last, records)
        now = datetime.now(UTC)
        local = read_local_work(folder, submissions, records, left, self._done, now)
        slices |= local.slices
        finished = len(manifest.names) - missing
        rate, between = local.clips_per_second, None
        retried = [number for number in left if slices[number] in ("failed", "new")]
        counts = Counter(slices.values())
        submitted_runs = _anything_runs(submissions, view)
        if last is not None and submitted_runs:
            rate = since_start(last, of_last, finished, now)
        if submitted_runs or local.scores:
            rates = self._recent.update(now.timestamp(), finished)
            if rates is not None:
                low, rate, high = rates
                between = (missing / high, missing / low)
        compared = of_last if last else local.records
        advice = identity_advice(compared, missing / rate) if rate else ""
        states = Counter(element_states(last, view, of_last).values()) if last else local.elements
        merge = find_merge_job(folder, last, view) if last else None
        remarks = self._remarks.read()
        files = {**self._done.problems, **self._remarks.problems}
        notes = tell_left_out(folder, files, clips.history.unread.count, damaged)
        notes += filter(None, [advice, tell_other_images(submissions, records)])
        if last is not None and (missing or not folder.table.exists()):
            notes += filter(None, [last.without_merge(), _without_table(folder.name, merge, view, missing)])
        if merge is not None:
            notes += filter(None, [failed_notification(folder, merge.job)])
        errors: list[str] = []
        try:
            errors += read_errors(folder)
            if since := rows_since(folder, len(manifest.names) - missing - len(gaps.failed)):
                notes.append(f"the table lacks {counted(since, 'clip')} scored since: vmafarm merge")
        except UsageError as error:
            notes.append(f"{error.message}: {error.hint}")
        return Status(
            run=folder.name,
            at=now.isoformat(timespec="seconds"),
            clips=len(manifest.names),
            done=len(manifest.names) - missing - len(gaps.failed),
            failed_for_good=len(gaps.failed),
            missing=missing,
            tried=len(gaps.tried),
            waiting=len(gaps.waiting),
            published=merge.published if merge else folder.table.exists(),
            errors=tuple(errors),
            slices={"done": manifest.slice_count - len(left)} | {s: counts[s] for s in SLICE_STATES[1:]},
            states="".join(slices.get(number, "done")[0] for number in range(manifest.slice_count)),
            missing_slices=format_indices(retried) if submissions and view.queue is not None else "",
            working=True if local.worker else None if view.queue is None else bool(view.queue),
            clips_per_second=rate,
            seconds_left=missing / rate if rate else None,
            seconds_left_between=between,
            failures=_by_class(clips.history.records),
            elements=dict(sorted(states.items())),
            messages=tuple(summarise_messages(latest_records(of_last).values())) if last else local.messages,
            broken_nodes=tuple(read_broken(folder)),
            merge=merge,
            notes=(*view.notes, *notes),
            remarks=remarks,
            pending=why_jobs_wait(view.queue or ()),
            at_work=local.worker,
        )

    def _jobs(self) -> tuple[list[Submission], SlurmView]:
        """The submissions and what SLURM says of their jobs; both unknown without permission to read."""
        try:
            submissions = read_submissions(self._folder)
        except UnavailableError as error:
            return [], SlurmView(None, {}, (f"{error.message}: {error.hint}",))
        return submissions, self._slurm.read(submissions, submissions[-1:], submitters(self._folder))


def _slice_states(left: Sequence[int], submissions: Sequence[Submission], view: SlurmView) -> dict[int, str]:
    """State of each slice that has something missing."""
    running: set[int] = set()
    waiting: set[int] = set()
    for task in view.queue or ():
        for submission in submissions:
            # A canary takes a few clips of all slices; the arrays are still to come.
            works = task.state in RUNNING and not submission.canary
            (running if works else waiting).update(submission.slices_of(task.job, task.index))
    submitted = {number for s in submissions if not s.canary for number in s.slices}
    gone = "unknown" if view.queue is None else "failed"

    def state(number: int) -> str:
        if number in running:
            return "running"
        if number in waiting:
            return "pending"
        return gone if number in submitted or (not submissions and view.queue is None) else "new"

    return {number: state(number) for number in left}


def _anything_runs(submissions: Sequence[Submission], view: SlurmView) -> bool:
    merges = {submission.merge_job for submission in submissions}
    return any(task.state in RUNNING and task.job not in merges for task in view.queue or ())


def _records_of(submission: Submission | None, records: Sequence[ElementRecord]) -> list[ElementRecord]:
    jobs = {array.job for array in submission.arrays} if submission else set()
    return [record for record in records if record.job in jobs]


def _without_table(run: str, merge: MergeJob | None, view: SlurmView, missing: int) -> str:
    """Say that nothing is left that would publish the table, and what to do; empty if that is not so."""
    if merge is None or merge.published or not merge.state or view.queue is None or view.queue:
        return ""
    then = f"vmafarm retry --run {run}" if missing else f"vmafarm merge --run {run}"
    return f"no job is left that would publish the table: {then}"


def _by_class(records: Sequence[FailureRecord]) -> dict[str, tuple[int, str]]:
    found: dict[str, tuple[int, str]] = {}
    for record in records:
        count, first = found.get(record.failure, (0, show(f"{record.clip_name}: {record.message}")))
        found[record.failure] = count + 1, first
    return found
