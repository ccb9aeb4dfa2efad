"""What clips of a run have taken so far, from the clip logs and the records of elements."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from vmafarm.cost.predict import Total, predict
from vmafarm.disk.sealed_parquet import DamagedError
from vmafarm.run_folder.element_records import ElementRecord
from vmafarm.run_folder.manifest import most_rows
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.submissions import Submission
from vmafarm.shards.clip_log import list_clip_logs, read_clip_log, shard_of

_COLUMNS = ("clip_name", "seconds_decoding", "seconds_scoring", "finished_at")


@dataclass(frozen=True)
class Measured:
    """What clips took in elements that worked in the same way.

    Attributes
    ----------
    seconds
        Wall time of each clip, decoding and scoring, beside the others that were in work.
    element_share
        Seconds of an element for each of these seconds.
    cpu_share
        Seconds of a processor for each of them; 0: not measured.
    at_once, threads
        Clips that were in work at once, and threads of each program.
    logs
        Clip logs of those clips.
    """

    seconds: dict[str, float]
    element_share: float
    cpu_share: float
    at_once: int
    threads: int
    logs: list[Path] = field(default_factory=list)

    def predict(self, missing: Collection[str], sizes: Mapping[str, int]) -> Total:
        """Wall time in seconds of clips, each by itself; see `vmafarm.cost.predict`."""
        return predict(self.seconds, missing, sizes)

    def predict_elements(self, missing: Collection[str], sizes: Mapping[str, int]) -> Total:
        """Wall time in seconds of elements that score these clips."""
        return self.predict(missing, sizes).times(self.element_share)


def measure(folder: RunFolder, records: Iterable[ElementRecord]) -> Measured | None:
    """Read what clips took.

    The last clips of a sample leave some workers idle, which those of a whole run hardly do. So an
    element's wall time is compared with what its clips, in the order in which they were begun, need
    at the least when so many are in work at once; what it took more than that (starting programs,
    reading their logs, failed tries) counts for all clips alike.

    Parameters
    ----------
    folder
        The run.
    records
        Elements that worked in the same way. One that was killed says nothing, nor does one whose clip
        logs are not whole.

    Returns
    -------
    Measured or None
        None: nothing was measured.
    """
    found = _read(folder, [one for one in records if one.ended_at and one.done and one.seconds > 0])
    found = [one for one in found if one.seconds]
    if not found:
        return None
    clips = {name: seconds for one in found for name, seconds in one.seconds.items()}
    wall = sum(one.record.seconds for one in found)
    ideal = sum(one.ideal for one in found)
    cpu = sum(one.record.cpu_seconds for one in found)
    each = sum(sum(one.seconds.values()) for one in found)
    last = found[-1].record
    logs = [path for one in found for path in one.logs]
    return Measured(clips, wall / ideal, cpu / each, max(1, last.at_once), last.threads, logs)


def measure_latest(
    folder: RunFolder, records: Iterable[ElementRecord], submissions: Sequence[Submission]
) -> Measured | None:
    """What clips took in the latest submission that has any to show.

    Workers, processors and GPUs may change from one submission to the next, so older ones do not
    count.

    Returns
    -------
    Measured or None
        None: nothing was measured.
    """
    known = list(records)
    for submission in reversed(submissions):
        jobs = {array.job for array in submission.arrays}
        measured = measure(folder, [record for record in known if record.job in jobs])
        if measured is not None:
            return measured
    return None


@dataclass
class _Element:
    record: ElementRecord
    logs: list[Path] = field(default_factory=list)
    begun: list[tuple[float, float, str]] = field(default_factory=list)

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time of each clip; empty unless all of them are known."""
        known = {name: seconds for _, seconds, name in self.begun}
        return known if len(known) == self.record.done and sum(known.values()) > 0 else {}

    @property
    def ideal(self) -> float:
        """Seconds of all its workers together for the same clips, idle ones at the end included."""
        workers = max(1, self.record.at_once)
        return workers * makespan([seconds for _, seconds, _ in sorted(self.begun)], workers)


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Wall time of tasks that are begun in this order, each as soon as one of the workers is free."""
    free = [0.0] * min(workers, len(seconds))
    for one in seconds:
        heapq.heapreplace(free, free[0] + one)
    return max(free, default=0.0)


def _read(folder: RunFolder, records: Sequence[ElementRecord]) -> list[_Element]:
    elements = {record.writer: _Element(record) for record in records}
    most = most_rows(folder)
    for path in list_clip_logs(folder)[0] if elements else ():
        element = elements.get(shard_of(folder, path).stem)
        if element is None:
            continue
        with suppress(OSError, DamagedError):  # then its clips are not all known
            log = read_clip_log(path, most, _COLUMNS)
            element.begun += _begun(log)
            element.logs.append(path)
    return list(elements.values())


def _begun(log: pa.Table) -> list[tuple[float, float, str]]:
    """When each clip was begun, its wall time, and its name."""
    found = []
    for row in log.to_pylist():
        seconds = row["seconds_decoding"] + row["seconds_scoring"]
        found.append((row["finished_at"].timestamp() - seconds, seconds, row["clip_name"]))
    return found
