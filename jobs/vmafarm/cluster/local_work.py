"""What works on a run on a machine, without SLURM: for a status that shows it as it shows array elements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from vmafarm.cluster.job_states import KILLED, summarise_messages
from vmafarm.run_folder.at_work import Worker, read_worker
from vmafarm.run_folder.element_records import ElementRecord
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.submissions import Submission
from vmafarm.shards.writer import DoneReader

_TOGETHER = timedelta(minutes=1)
"""Elements of one ``vmafarm run`` start within that; one that was killed has recorded no end."""


@dataclass(frozen=True)
class LocalWork:
    """What the latest ``vmafarm run`` does, or did.

    Attributes
    ----------
    worker
        The process that works on the run now; None: none does.
    records
        Its elements, in the order of their beginning.
    elements
        Number of them by state, as SLURM calls these.
    messages
        Why some ended before their work was done; see `vmafarm.cluster.job_states.summarise_messages`.
    slices
        State of each slice that an element works on or waits for.
    clips_per_second
        Since its first element started; None: none is at work, or has finished a clip.
    """

    worker: Worker | None
    records: tuple[ElementRecord, ...] = ()
    elements: Mapping[str, int] = field(default_factory=dict)
    messages: tuple[tuple[int, str], ...] = ()
    slices: Mapping[int, str] = field(default_factory=dict)
    clips_per_second: float | None = None

    @property
    def scores(self) -> bool:
        """Whether an element is at work."""
        return "RUNNING" in self.elements


def read_local_work(
    folder: RunFolder, submissions: Sequence[Submission], records: Sequence[ElementRecord],
    left: Sequence[int], reader: DoneReader, now: datetime,
) -> LocalWork:  # fmt: skip
    """Read what works on a run, or did last, on a machine.

    Parameters
    ----------
    folder
        The run.
    submissions
        Its submissions to SLURM, whose elements are left out.
    records
        All its elements, in the order of their beginning.
    left
        Slices that have something missing.
    reader
        Has read the rows of the run.
    now
        The time.
    """
    worker = read_worker(folder)
    submitted = {job for one in submissions for job in one.jobs()}
    own = _latest([record for record in records if record.job not in submitted], worker)
    states = ["RUNNING" if _runs(record, worker) else _ended(record) for record in own]
    at_work = [record for record in own if _runs(record, worker)]
    slices: dict[int, str] = {}
    for record in at_work:
        begun = {
            number for number in left if (folder.shard_folder(number) / f"{record.writer}.journal").exists()
        }
        mine = set(left).intersection(record.slices)
        slices |= {number: "running" if number in begun else "pending" for number in mine}
    rate = None
    if at_work:
        rows = sum(reader.count(folder, one.slices, one.writer, one.clips) for one in own)
        seconds = (now - datetime.fromisoformat(own[0].started_at)).total_seconds()
        rate = rows / seconds if rows and seconds > 0 else None
    return LocalWork(
        worker,
        tuple(own),
        dict(sorted(Counter(states).items())),
        tuple(summarise_messages(own)),
        slices,
        rate,
    )


def _latest(records: Sequence[ElementRecord], worker: Worker | None) -> list[ElementRecord]:
    """The elements of the process at work, or of the one that was at work last."""
    if worker is not None:
        since = datetime.fromisoformat(worker.since)
        return [record for record in records if datetime.fromisoformat(record.started_at) >= since]
    found: list[ElementRecord] = []
    until: datetime | None = None
    for record in records:
        began = datetime.fromisoformat(record.started_at)
        if until is None or began > until:
            found = []
        found.append(record)
        ended = datetime.fromisoformat(record.ended_at) if record.ended_at else began
        until = max(until or began, ended, began + _TOGETHER)
    return found


def _runs(record: ElementRecord, worker: Worker | None) -> bool:
    return worker is not None and not record.ended_at


def _ended(record: ElementRecord) -> str:
    if not record.ended_at:
        return KILLED
    return "FAILED" if record.exit_code else "COMPLETED"
