"""What the elements of a run used, against what was asked for.

It is read from the records of elements, from clip logs, and from accounting if there is any.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from vmafarm.cluster.element_uses import asked_of, element_use
from vmafarm.cluster.job_states import ACTIVE, Key, brief, key_of
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.slurm_answers import JobUsage
from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.cost.advice import advise
from vmafarm.cost.efficiency import (
    NOTHING,
    ClipTimes,
    Spent,
    SubmissionUse,
    add_up,
    clip_times,
    highest,
)
from vmafarm.disk.sealed_parquet import DamagedError
from vmafarm.run_folder.element_records import ElementRecord, load_elements
from vmafarm.run_folder.manifest import load_manifest, most_rows
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.submissions import Submission, read_submissions, run_job_name
from vmafarm.shards.clip_log import list_clip_logs, read_clip_log, shard_of

_COLUMNS = ("seconds_decoding", "seconds_scoring")
_NOT_ASKED = "SLURM was not asked: what elements without an end used is not known"
_NO_ACCOUNTS = "no accounting (sacct): what killed elements used is not known"


@dataclass(frozen=True)
class Efficiency:
    """What a run used.

    Attributes
    ----------
    run
        Its name.
    submissions
        The latest, or all, the oldest first.
    count
        How many there are.
    all
        Sums over all of them.
    notes
        What could not be found out or was left out.
    """

    run: str
    submissions: tuple[SubmissionUse, ...]
    count: int
    all: Spent
    notes: tuple[str, ...]


def read_efficiency(config: Config, slurm: Slurm | None, *, every: bool = False) -> Efficiency:
    """Read what the elements of a run used.

    Parameters
    ----------
    config
        The configuration of a planned run.
    slurm
        The cluster; None: nothing is asked.
    every
        Each submission, not the latest only.

    Raises
    ------
    UsageError
        The run is not planned, was never submitted, or none of its elements has begun.
    """
    folder = config.folder
    manifest = load_manifest(folder)
    submissions = read_submissions(folder)
    if not submissions:
        raise UsageError(
            f'"{folder.name}" was never submitted: nothing was asked for that its use could be compared with',
            f"vmafarm submit --run {folder.name} (--canary 20 scores a few clips first)",
        )
    records, damaged = load_elements(folder)
    jobs = {array.job for submission in submissions for array in submission.arrays}
    if not any(record.job in jobs for record in records):
        raise UsageError(
            f'no element of "{folder.name}" has recorded anything'
            + (f", {damaged} damaged" if damaged else ""),
            f"wait until elements have begun (vmafarm status --run {folder.name})",
        )
    notes = [f"left out: {counted(damaged, 'damaged record')} of elements"] if damaged else []
    accounts, active, unknown = _ask_slurm(slurm, run_job_name(folder, manifest.origin), submissions)
    notes += unknown
    by_key: dict[Key, list[ElementRecord]] = defaultdict(list)
    for record in records:
        by_key[key_of(record)].append(record)
    found = []
    for submission in submissions:
        asked = asked_of(submission)
        if asked is None:
            notes.append(f"left out: submission {submission.number}, which does not say what it asked for")
            continue
        keys = [(array.job, index) for array in submission.arrays for index in range(array.count)]
        starts = [start for key in keys for start in accounts.get(key, ())]
        memory = asked.memory or max((start.memory_asked for start in starts), default=0)
        asked = replace(asked, memory=memory)
        uses = [
            use
            for key in keys
            if (use := element_use(by_key.get(key, ()), accounts.get(key, ()), asked, active(key)))
        ]
        whole = SubmissionUse(submission.number, submission.at, asked, add_up(uses, asked), highest(uses))
        found.append((whole, uses, {record.writer for key in keys for record in by_key.get(key, ())}))
    total = reduce(Spent.plus, (whole.spent for whole, _, _ in found), NOTHING)
    shown = found if every else found[-1:]
    logs = _ClipLogs(folder, set().union(*(writers for _, _, writers in shown)))
    notes += logs.notes
    return Efficiency(
        folder.name,
        tuple(
            replace(whole, times=logs.times(writers), advice=tuple(advise(whole.asked, uses)))
            for whole, uses, writers in shown
        ),
        len(submissions),
        total,
        tuple(notes),
    )


def _ask_slurm(
    slurm: Slurm | None, name: str, submissions: Sequence[Submission]
) -> tuple[Mapping[Key, list[JobUsage]], Callable[[Key], bool | None], list[str]]:
    """Starts of each job by accounting; whether a job waits or runs, None: not known; and notes."""
    accounts: dict[Key, list[JobUsage]] = defaultdict(list)
    notes = []
    if slurm is None:
        return accounts, lambda key: None, [_NOT_ASKED]
    queue: set[Key] | None = None
    try:
        queue = {key_of(task) for task in slurm.queue(name)}
    except UnavailableError as error:
        notes.append(f"the queue is unknown: {brief(error.message)}")
    try:
        usage = slurm.usage(array.job for submission in submissions for array in submission.arrays)
        for start in usage or ():
            accounts[start.job, start.index or 0].append(start)
        if usage is None:
            notes.append(_NO_ACCOUNTS)
    except UnavailableError as error:
        notes.append(f"accounting is unavailable: {brief(error.message)}")

    def is_active(key: Key) -> bool | None:
        if queue is not None:
            return key in queue
        return accounts[key][-1].state in ACTIVE if accounts.get(key) else None

    return accounts, is_active, notes


class _ClipLogs:
    """Seconds of clips by writer, for some writers."""

    def __init__(self, folder: RunFolder, writers: set[str]) -> None:
        most = most_rows(folder)
        paths, unreadable = list_clip_logs(folder)
        damaged = len(unreadable)
        self._seconds: dict[str, list[tuple[list[float], list[float]]]] = defaultdict(list)
        for path in paths:
            writer = shard_of(folder, path).stem
            if writer not in writers:
                continue
            try:
                log = read_clip_log(path, most, _COLUMNS)
            except (OSError, DamagedError):
                damaged += 1
                continue
            decoding, scoring = (log[name].to_pylist() for name in _COLUMNS)
            self._seconds[writer].append((decoding, scoring))
        self.notes = [f"left out: {counted(damaged, 'damaged clip log')}"] if damaged else []

    def times(self, writers: set[str]) -> ClipTimes | None:
        """What the clips of these writers took."""
        decoding: list[float] = []
        scoring: list[float] = []
        for writer in sorted(writers):
            for some_decoding, some_scoring in self._seconds.get(writer, ()):
                decoding += some_decoding
                scoring += some_scoring
        return clip_times(decoding, scoring)
